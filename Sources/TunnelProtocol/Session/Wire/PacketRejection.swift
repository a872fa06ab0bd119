//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Why a packet is ignored.
enum PacketRejection: Error, Hashable, Sendable {
    /// The packet is too large, or cannot be decoded.
    case malformed
    /// A packet of this node that a relay sent back.
    case reflected
    /// The packet was copied to another relay. It gives no information about the path in its header.
    case wrongPath
    /// A packet with this number was received before.
    case repeated

    var report: ProtocolReport {
        switch self {
        case .malformed: .malformedMessage
        case .reflected: .reflected
        case .wrongPath: .wrongPath
        case .repeated: .repeatedPacket
        }
    }
}
