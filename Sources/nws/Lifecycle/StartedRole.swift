//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOConcurrencyHelpers

/// The running service of a role, for the other services of the process. It is nil until the role has started.
final class StartedRole<Running: Sendable>: Sendable {
    private let value = NIOLockedValueBox<Running?>(nil)
    private let starts: AsyncStream<Running>
    private let started: AsyncStream<Running>.Continuation

    init() {
        (self.starts, self.started) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// The service; nil if it has not started.
    var current: Running? { self.value.withLockedValue { $0 } }

    /// Records that the role started.
    func set(_ running: Running) {
        self.value.withLockedValue { $0 = running }
        self.started.yield(running)
    }

    /// Waits until the role has started. Only one caller may wait. Returns nil if the task is cancelled.
    func wait() async -> Running? {
        for await running in self.starts { return running }
        return nil
    }
}
