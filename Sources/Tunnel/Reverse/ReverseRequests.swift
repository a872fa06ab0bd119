//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// Streams for which an exit was asked to connect to this entry (CONNECTR), by their UUIDs.
final class ReverseRequests {
    /// Most streams that wait at once.
    private static let maximumCount = 1_024
    /// For an exit to read the request and connect.
    private static let timeout: TimeAmount = .seconds(5)

    private struct Request {
        let opening: StreamOpening
        let timer: Scheduled<Void>
    }

    private let loop: any EventLoop
    private var requests: [String: Request] = [:]
    /// Streams that connections of exits carry.
    private var connected = 0
    /// Called when a stream of such a connection ended.
    var onEnd: () -> Void = {}

    /// Streams that have not ended.
    var streamCount: Int { self.requests.count + self.connected }

    init(loop: any EventLoop) {
        self.loop = loop
    }

    /// Waits for a connection that names `key`. False if too many streams wait.
    ///
    /// - Parameter onTimeout: Called if no connection comes in time.
    func expect(_ key: String, _ opening: StreamOpening, onTimeout: @escaping () -> Void) -> Bool {
        guard self.requests.count < Self.maximumCount else { return false }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let boundTimeout = NIOLoopBound(onTimeout, eventLoop: self.loop)
        let timer = self.loop.scheduleTask(in: Self.timeout) {
            guard bound.value.requests.removeValue(forKey: key) != nil else { return }
            boundTimeout.value()
        }
        self.requests[key] = Request(opening: opening, timer: timer)
        return true
    }

    /// An exit connected for a stream. Each stream is given out once.
    func take(_ key: String, for stream: ReverseStream) -> StreamOpening? {
        guard let request = self.requests.removeValue(forKey: key) else { return nil }
        request.timer.cancel()
        self.connected += 1
        stream.onClose = { [weak self] in
            self?.connected -= 1
            self?.onEnd()
        }
        request.opening.attach(to: stream, as: ReverseStream.stream, earlyBytes: 0)
        return request.opening
    }

    /// The client of a waiting stream is gone.
    func cancel(_ opening: StreamOpening) {
        for (key, request) in self.requests where request.opening === opening {
            request.timer.cancel()
            self.requests[key] = nil
        }
    }
}
