//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Waits until the last stream has ended, up to a timeout.
final class Drain {
    private let promise: EventLoopPromise<Void>
    private var timer: Scheduled<Void>?

    /// - Parameter timeout: How long to wait for the last stream.
    init(timeout: TimeAmount, on loop: any EventLoop) {
        self.promise = loop.makePromise(of: Void.self)
        let bound = NIOLoopBound(self, eventLoop: loop)
        self.timer = loop.scheduleTask(in: timeout) { bound.value.finish() }
    }

    /// Succeeds when no stream is left or the timeout expires.
    var future: EventLoopFuture<Void> { self.promise.futureResult }

    /// Reports that the last stream ended. Further calls have no effect.
    func finish() {
        guard let timer = self.timer else { return }
        self.timer = nil
        timer.cancel()
        self.promise.succeed()
    }
}
