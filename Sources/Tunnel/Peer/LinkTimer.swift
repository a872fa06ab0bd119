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
    /// Whether the timer fires as soon as the loop has handled the events that it received together.
    private var isDue = false

    /// - Parameter onTimeout: Must not retain the timer's owner.
    init(loop: any EventLoop, onTimeout: @escaping () -> Void) {
        self.loop = loop
        self.onTimeout = onTimeout
    }

    /// The deadline at which the timer fires. Nil if none is set.
    var deadline: NIODeadline? { self.isDue ? .uptimeNanoseconds(0) : self.pending?.deadline }

    /// Sets the deadline. A timer that fires earlier stays, because setting a later deadline for each packet would cost
    /// more than an early timeout.
    func set(_ deadline: NIODeadline) {
        if self.isDue { return }
        if let pending, pending.deadline <= deadline { return }
        if deadline <= self.loop.now { self.fireSoon() } else { self.replace(by: deadline) }
    }

    /// Fires in this turn of the loop. This costs less than a scheduled task, and the scheduled one stays.
    private func fireSoon() {
        self.isDue = true
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.loop.execute {
            // It may have been cancelled, or have fired for an earlier call.
            guard bound.value.isDue else { return }
            bound.value.isDue = false
            bound.value.onTimeout()
        }
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
        self.isDue = false
        self.pending?.task.cancel()
        self.pending = nil
    }
}
