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
    private static let patience: TimeAmount = .seconds(5)

    private struct Request {
        let carrier: PendingReverse
        let timer: Scheduled<Void>
    }

    private let loop: any EventLoop
    private var requests: [String: Request] = [:]
    /// Streams that exits carry.
    private(set) var joined = 0

    /// Streams that are not over.
    var streamCount: Int { self.requests.count + self.joined }

    init(loop: any EventLoop) {
        self.loop = loop
    }

    /// Waits for a connection that names `key`. Nil beyond the limit.
    func expect(
        _ key: String,
        endpoint: any StreamEndpoint,
        onSilence: @escaping (PendingReverse) -> Void
    ) -> PendingReverse? {
        guard self.requests.count < Self.maximumCount else { return nil }
        let carrier = PendingReverse(endpoint, onSilence: onSilence)
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

    func streamBegan() { self.joined += 1 }
    func streamEnded() { self.joined -= 1 }
}
