//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

@testable import Tunnel

/// Records what an endpoint does with its stream.
final class RecordingCarrier: StreamCarrier {
    enum Call: Hashable {
        case send([UInt8])
        case finish
        case reset(StreamEnd)
        case resetAfterDelivery(StreamEnd)
        case consumed(Int)
        case connected
        case replaceEndpoint
    }

    private(set) var calls: [Call] = []

    /// Returns the calls since the last time, and forgets them.
    func takeCalls() -> [Call] {
        defer { self.calls = [] }
        return self.calls
    }

    func send(_ id: StreamID, _ data: ByteBuffer) { self.calls.append(.send(Array(data.readableBytesView))) }
    func finish(_ id: StreamID) { self.calls.append(.finish) }
    func reset(_ id: StreamID, _ reason: StreamEnd) { self.calls.append(.reset(reason)) }
    func resetAfterDelivery(_ id: StreamID, _ reason: StreamEnd) { self.calls.append(.resetAfterDelivery(reason)) }
    func consumed(_ id: StreamID, _ bytes: Int) { self.calls.append(.consumed(bytes)) }
    func connected(_ id: StreamID) { self.calls.append(.connected) }
    func replaceEndpoint(of id: StreamID, with endpoint: any StreamEndpoint) { self.calls.append(.replaceEndpoint) }
}
