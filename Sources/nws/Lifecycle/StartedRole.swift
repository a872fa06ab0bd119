//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOConcurrencyHelpers

/// The running service of a role, for the other services of the process. It is nil until the role has started.
final class StartedRole<Running: Sendable>: Sendable {
    private struct State {
        var running: Running?
        var isStopping = false
    }

    private let state = NIOLockedValueBox(State())
    private let starts: AsyncStream<Running>
    private let started: AsyncStream<Running>.Continuation

    init() {
        (self.starts, self.started) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// The service; nil if it has not started.
    var current: Running? { self.state.withLockedValue { $0.running } }

    /// Records that the role started. Returns false if it must be stopped, because the process has begun to stop.
    func set(_ running: Running) -> Bool {
        let isStopping = self.state.withLockedValue { state in
            state.running = running
            return state.isStopping
        }
        self.started.yield(running)
        return !isStopping
    }

    /// Records that the process has begun to stop. Returns the service; nil if it has not started.
    func beginStopping() -> Running? {
        self.state.withLockedValue { state in
            state.isStopping = true
            return state.running
        }
    }

    /// Waits until the role has started. Only one caller may wait. Returns nil if the task is cancelled.
    func wait() async -> Running? {
        for await running in self.starts { return running }
        return nil
    }
}
