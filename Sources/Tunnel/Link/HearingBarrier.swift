//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Waits until a key is heard on all relays that are up; not for ever for all of them, but for one at least.
final class HearingBarrier {
    private var missing: Int
    private var hasArrived = false
    private var isImpatient = false
    private var completion: (() -> Void)?

    /// Longest wait; what a slow relay misses is sent again.
    private static let patience: TimeAmount = .seconds(2)

    /// - Parameter count: Relays that are up.
    init(_ count: Int, loop: any EventLoop, completion: @escaping () -> Void) {
        self.missing = count
        self.completion = completion
        let bound = NIOLoopBound(self, eventLoop: loop)
        _ = loop.scheduleTask(in: Self.patience) {
            bound.value.isImpatient = true
            if bound.value.hasArrived { bound.value.finish() }
        }
    }

    func arrived() {
        self.missing -= 1
        self.hasArrived = true
        if self.missing <= 0 || self.isImpatient { self.finish() }
    }

    private func finish() {
        let completion = self.completion
        self.completion = nil
        completion?()
    }
}
