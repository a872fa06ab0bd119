//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// Streams for which an exit was asked to connect to this entry, by their UUIDs.
final class ReverseRequests {
    /// Most that wait at once.
    private static let maximumCount = 1_024
    /// For an exit to connect. It has to read the request and dial.
    private static let patience: TimeAmount = .seconds(10)

    private struct Request {
        let carrier: PendingReverse
        let timer: Scheduled<Void>
    }

    private let loop: any EventLoop
    private var requests: [String: Request] = [:]

    init(loop: any EventLoop) {
        self.loop = loop
    }

    /// Waits for a connection that names `key`. Nil beyond the limit.
    func expect(_ key: String, endpoint: any StreamEndpoint) -> PendingReverse? {
        guard self.requests.count < Self.maximumCount else { return nil }
        let carrier = PendingReverse(endpoint)
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let timer = self.loop.scheduleTask(in: Self.patience) { () -> Void in
            bound.value.requests.removeValue(forKey: key)?.carrier.giveUp()
        }
        self.requests[key] = Request(carrier: carrier, timer: timer)
        return carrier
    }

    /// An exit connected: the stream's endpoint, once.
    func take(_ key: String) -> PendingReverse? {
        guard let request = self.requests.removeValue(forKey: key) else { return nil }
        request.timer.cancel()
        return request.carrier
    }
}

/// Carries a stream from the moment that it was asked for: nothing before the exit connected, and then what it connected.
final class PendingReverse: StreamCarrier {
    private var endpoint: (any StreamEndpoint)?
    private weak var stream: ReverseStream?

    init(_ endpoint: any StreamEndpoint) {
        self.endpoint = endpoint
    }

    /// The exit connected. Nil if nobody waits any more.
    func joined(_ stream: ReverseStream) -> (any StreamEndpoint)? {
        self.stream = stream
        defer { self.endpoint = nil }
        return self.endpoint
    }

    func giveUp() {
        let endpoint = self.endpoint
        self.endpoint = nil
        endpoint?.ended(.exitSilent)
    }

    func send(_ id: StreamID, _ data: ByteBuffer) { self.stream?.send(id, data) }
    func finish(_ id: StreamID) { self.stream?.finish(id) }
    func consumed(_ id: StreamID, _ bytes: Int) { self.stream?.consumed(id, bytes) }
    func connected(_ id: StreamID) { self.stream?.connected(id) }

    func reset(_ id: StreamID, _ reason: StreamEnd) {
        self.endpoint = nil
        self.stream?.reset(id, reason)
    }

    func replaceEndpoint(of id: StreamID, with endpoint: any StreamEndpoint) {
        if let stream { stream.replaceEndpoint(of: id, with: endpoint) } else { self.endpoint = endpoint }
    }
}
