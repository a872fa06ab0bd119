//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The timer of a protocol engine. It fires once for each deadline that is set.
final class LinkTimer {
    private let loop: any EventLoop
    /// Called when the deadline has passed.
    private let onTimeout: () -> Void
    private var pending: (deadline: NIODeadline, task: Scheduled<Void>)?

    /// - Parameter onTimeout: Must not retain the timer's owner.
    init(loop: any EventLoop, onTimeout: @escaping () -> Void) {
        self.loop = loop
        self.onTimeout = onTimeout
    }

    /// The deadline at which the timer fires. Nil if none is set.
    var deadline: NIODeadline? { self.pending?.deadline }

    /// Sets the deadline. A timer that fires earlier stays, because setting a later deadline for each packet would cost
    /// more than an early timeout.
    func set(_ deadline: NIODeadline) {
        if let pending, pending.deadline <= deadline { return }
        self.replace(by: deadline)
    }

    /// Sets the deadline, also if it is later than the current one.
    func replace(by deadline: NIODeadline) {
        self.cancel()
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let task = self.loop.scheduleTask(deadline: deadline) {
            bound.value.pending = nil
            bound.value.onTimeout()
        }
        self.pending = (deadline, task)
    }

    func cancel() {
        self.pending?.task.cancel()
        self.pending = nil
    }
}
