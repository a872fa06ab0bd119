//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Waits for the last stream to end, for a while.
final class Drain {
    private let promise: EventLoopPromise<Void>
    private var timer: Scheduled<Void>?

    /// - Parameter patience: How long streams may go on.
    init(patience: TimeAmount, on loop: any EventLoop) {
        self.promise = loop.makePromise(of: Void.self)
        let bound = NIOLoopBound(self, eventLoop: loop)
        self.timer = loop.scheduleTask(in: patience) { bound.value.finish() }
    }

    /// Succeeds when no stream is left, or the patience is at its end.
    var future: EventLoopFuture<Void> { self.promise.futureResult }

    /// The last stream ended. Any number of times.
    func finish() {
        guard let timer = self.timer else { return }
        self.timer = nil
        timer.cancel()
        self.promise.succeed()
    }
}
