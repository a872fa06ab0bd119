//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// Is notified when the connection of a stream of ``ReverseRequests`` has closed.
protocol ReverseRequestsDelegate: AnyObject {
    func reverseStreamDidEnd(_ requests: ReverseRequests)
}

/// The streams for which this entry requested that an exit connect to it (CONNECTR), by UUID.
final class ReverseRequests {
    /// Maximum number of streams that wait for a connection.
    private static let maximumCount = 1_024
    /// How long to wait for the exit to connect.
    private static let timeout: TimeAmount = .seconds(5)

    private struct Request {
        let opening: StreamOpening
        let timer: Scheduled<Void>
    }

    private let loop: any EventLoop
    private var requests: [String: Request] = [:]
    /// Number of streams that use a connection of an exit.
    private var connected = 0
    weak var delegate: (any ReverseRequestsDelegate)?

    /// Number of streams that have not ended.
    var streamCount: Int { self.requests.count + self.connected }

    init(loop: any EventLoop) {
        self.loop = loop
    }

    /// Waits for a connection with the UUID `key`. Returns false if the maximum number of streams is already waiting.
    ///
    /// - Parameter onTimeout: Called if the connection does not arrive in time.
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

    /// Attaches a waiting stream to the connection that an exit has opened for it, and returns the stream. Returns nil
    /// if no stream waits for this UUID.
    func take(_ key: String, for stream: ReverseStream) -> StreamOpening? {
        guard let request = self.requests.removeValue(forKey: key) else { return nil }
        request.timer.cancel()
        self.connected += 1
        stream.onClose = { [weak self] in
            self?.connected -= 1
            guard let self else { return }
            self.delegate?.reverseStreamDidEnd(self)
        }
        request.opening.attach(to: stream, as: ReverseStream.stream, earlyBytes: 0)
        return request.opening
    }

    /// Stops waiting for a connection, because the client has closed its own connection.
    func cancel(_ opening: StreamOpening) {
        for (key, request) in self.requests where request.opening === opening {
            request.timer.cancel()
            self.requests[key] = nil
        }
    }
}
