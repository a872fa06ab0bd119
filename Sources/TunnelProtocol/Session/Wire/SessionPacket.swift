//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// A decrypted packet of the peer.
struct SessionPacket: Sendable {
    let header: SessionPacketHeader
    let frames: [SessionFrame]
    /// The length of the plaintext in bytes.
    let size: Int

    /// Decodes a packet. Throws why it is ignored.
    ///
    /// - Parameter check: Checks the header before the frames are decoded, so that a packet which must be ignored does not end
    ///   the session.
    init(
        _ plaintext: ByteBuffer,
        receiver: SessionStateMachine.Role,
        check: (SessionPacketHeader) throws(PacketRejection) -> Void
    ) throws(PacketRejection) {
        guard plaintext.readableBytes <= SessionConfiguration.largestPacket else { throw .malformed }
        var buffer = plaintext
        do {
            self.header = try SessionPacketHeader(&buffer, isFromExit: receiver == .client)
        } catch {
            throw error == .wrongDirection ? .reflected : .malformed
        }
        try check(self.header)
        do {
            self.frames = try SessionFrameDecoder.decode(buffer)
        } catch {
            throw .malformedFrame
        }
        self.size = plaintext.readableBytes
    }

    /// Decodes a packet that came in a datagram, which has the header's information itself. Throws why it is ignored.
    ///
    /// - Parameters:
    ///   - frames: The frames.
    ///   - number: The packet number.
    ///   - check: As above.
    init(
        datagram frames: ByteBuffer,
        number: UInt64,
        check: (SessionPacketHeader) throws(PacketRejection) -> Void
    ) throws(PacketRejection) {
        self.header = SessionPacketHeader(path: .direct, number: number)
        try check(self.header)
        do {
            self.frames = try SessionFrameDecoder.decode(frames)
        } catch {
            throw .malformedFrame
        }
        self.size = frames.readableBytes
    }

    /// How a packet wants to be acknowledged.
    struct Demand {
        /// Whether the peer must be sent an acknowledgement.
        var isAckEliciting = false
        /// Whether the packet has a PING, so that it is acknowledged on its own path.
        var isProbe = false
        /// Whether it has an IMMEDIATE_ACK.
        var isImmediate = false
    }

    var demand: Demand {
        var demand = Demand()
        for frame in self.frames {
            if frame.isAckEliciting { demand.isAckEliciting = true }
            switch frame {
            case .ping: demand.isProbe = true
            case .immediateAcknowledgement: demand.isImmediate = true
            default: break
            }
        }
        return demand
    }

    /// Returns whether the packet contains data of a stream that neither exists nor is opened by an earlier frame of the packet.
    func containsData(where isUnopened: (StreamID) -> Bool) -> Bool {
        var opened: Set<StreamID> = []
        for frame in self.frames {
            switch frame {
            case .openStream(let id, _): opened.insert(id)
            case .stream(let id, _, _, _): if isUnopened(id), !opened.contains(id) { return true }
            default: break
            }
        }
        return false
    }

    /// Whether the packet has at most one ACK frame for each path. More are not allowed, because each may cover thousands
    /// of packets.
    var acknowledgesEachPathOnce: Bool {
        var seen: UInt32 = 0
        for case .acknowledgement(let acknowledgement) in self.frames {
            // The decoder accepts at most 17 paths.
            let bit = UInt32(1) << UInt32(acknowledgement.path.rawValue)
            guard seen & bit == 0 else { return false }
            seen |= bit
        }
        return true
    }
}
