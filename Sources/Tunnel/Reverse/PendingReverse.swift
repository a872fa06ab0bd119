//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// A stream that waits for an exit's connection, and is carried by it later, or by relays after all.
final class PendingReverse: StreamCarrier {
    private var endpoint: (any StreamEndpoint)?
    private var carrier: Carrier?
    private let onSilence: (PendingReverse) -> Void

    private enum Carrier {
        case reverse(Weak)
        case relays(any StreamCarrier, StreamID)
    }

    private struct Weak {
        weak var stream: ReverseStream?
    }

    /// - Parameter onSilence: Called when no connection came in time.
    init(_ endpoint: any StreamEndpoint, onSilence: @escaping (PendingReverse) -> Void) {
        self.endpoint = endpoint
        self.onSilence = onSilence
    }

    /// The exit connected. Nil if nobody waits any more.
    func joined(_ stream: ReverseStream) -> (any StreamEndpoint)? {
        self.carrier = .reverse(Weak(stream: stream))
        return self.takeEndpoint()
    }

    /// What waits, for whoever serves it otherwise; nil if nobody does any more.
    func takeEndpoint() -> (any StreamEndpoint)? {
        defer { self.endpoint = nil }
        return self.endpoint
    }

    /// The stream goes by relays.
    func goOn(by carrier: any StreamCarrier, _ id: StreamID) {
        self.carrier = .relays(carrier, id)
    }

    func giveUp() {
        if self.endpoint != nil { self.onSilence(self) }
    }

    private func pass(_ call: (any StreamCarrier, StreamID) -> Void) {
        switch self.carrier {
        case .reverse(let weak): if let stream = weak.stream { call(stream, ReverseStream.stream) }
        case .relays(let carrier, let id): call(carrier, id)
        case nil: break
        }
    }

    func send(_ id: StreamID, _ data: ByteBuffer) { self.pass { $0.send($1, data) } }
    func finish(_ id: StreamID) { self.pass { $0.finish($1) } }
    func consumed(_ id: StreamID, _ bytes: Int) { self.pass { $0.consumed($1, bytes) } }
    func connected(_ id: StreamID) { self.pass { $0.connected($1) } }

    func reset(_ id: StreamID, _ reason: StreamEnd) {
        self.endpoint = nil
        self.pass { $0.reset($1, reason) }
    }

    func replaceEndpoint(of id: StreamID, with endpoint: any StreamEndpoint) {
        if self.carrier == nil {
            self.endpoint = endpoint
        } else {
            self.pass { $0.replaceEndpoint(of: $1, with: endpoint) }
        }
    }
}
