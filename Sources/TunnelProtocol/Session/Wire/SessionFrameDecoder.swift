//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
import NostrCrypto
import STUN

/// Decodes the frames of a packet.
package enum SessionFrameDecoder {
    /// Decodes all frames of a packet. Padding is skipped. Every length is checked against the remaining bytes.
    package static func decode(_ buffer: ByteBuffer) throws(SessionDecodingError) -> [SessionFrame] {
        var buffer = buffer
        var frames: [SessionFrame] = []
        while buffer.readableBytes > 0 {
            if let frame = try Self.next(&buffer) { frames.append(frame) }
        }
        return frames
    }

    /// Data is copied if it is smaller than its packet's storage divided by this number.
    private static let leastShare = 4

    /// Decodes one frame. Returns nil for padding.
    private static func next(_ buffer: inout ByteBuffer) throws(SessionDecodingError) -> SessionFrame? {
        let type = try Self.integer(&buffer)
        switch type {
        case 0x00: return nil
        case 0x01: return .ping
        case 0x02: return .acknowledgement(try Self.acknowledgement(&buffer))
        case 0x04:
            return .resetStream(
                try Self.stream(&buffer),
                code: try Self.integer(&buffer),
                finalSize: try Self.integer(&buffer)
            )
        case 0x05: return .stopSending(try Self.stream(&buffer), code: try Self.integer(&buffer))
        case 0x06:
            let offset = try Self.integer(&buffer)
            let length = try Self.length(&buffer, most: CryptoStream.maximumBuffer)
            guard let data = buffer.readBytes(length: length) else { throw .truncated }
            return .crypto(offset: offset, data: ByteBuffer(bytes: data))
        case 0x0c...0x0f:
            let id = try Self.stream(&buffer)
            let offset = try Self.integer(&buffer)
            // Without a length, the data extends to the end of the packet.
            let length = type & 2 != 0 ? try Self.length(&buffer, most: buffer.readableBytes) : buffer.readableBytes
            guard var data = buffer.readSlice(length: length) else { throw .truncated }
            // A slice retains the whole packet, but credit counts only the bytes of the slice.
            if length < data.storageCapacity / Self.leastShare { data = ByteBuffer(bytes: data.readableBytesView) }
            guard offset <= ByteBuffer.maximumVariableLengthInteger - UInt64(length) else { throw .outOfRange }
            return .stream(id, offset: offset, data: data, isFinal: type & 1 != 0)
        case 0x10: return .maximumData(try Self.integer(&buffer))
        case 0x11: return .maximumStreamData(try Self.stream(&buffer), try Self.integer(&buffer))
        case 0x1c: return .connectionClose(code: try Self.integer(&buffer), reason: try Self.text(&buffer))
        case 0x1f: return .immediateAcknowledgement
        case 0x40:
            let id = try Self.stream(&buffer)
            guard let port = UInt16(exactly: try Self.integer(&buffer)) else { throw .outOfRange }
            return .openStream(id, StreamRequest(destination: try Self.text(&buffer), port: port))
        case 0x41: return .streamOpened(try Self.stream(&buffer))
        case 0x43:
            guard let generation = Int(exactly: try Self.integer(&buffer)) else { throw .outOfRange }
            guard let key = buffer.readBytes(length: Bytes32.count).flatMap({ Bytes32($0) }),
                let signature = buffer.readBytes(length: SchnorrSignature.length).flatMap({ SchnorrSignature($0) })
            else { throw .truncated }
            let publicKey = PublicKey(unchecked: key)
            return .identity(
                ClientIdentity(generation: generation, publicKey: publicKey, signature: signature)
            )
        case 0x44:
            let path = try Self.path(&buffer)
            return .newPath(SessionPathOffer(path: path, relay: try Self.text(&buffer)))
        case 0x45:
            let lifetime = try Self.integer(&buffer)
            guard let secret = buffer.readBytes(length: Bytes32.count).flatMap({ Bytes32($0) }) else {
                throw .truncated
            }
            return .newTicket(secret, lifetime: lifetime)
        case 0x46:
            guard let fresh = buffer.readBytes(length: Bytes32.count).flatMap({ Bytes32($0) }),
                let bodyHash = buffer.readBytes(length: Bytes32.count).flatMap({ Bytes32($0) }),
                let signature = buffer.readBytes(length: SchnorrSignature.length).flatMap({ SchnorrSignature($0) })
            else { throw .truncated }
            return .duplicateKey(
                DuplicateKeyReport(fresh: PublicKey(unchecked: fresh), bodyHash: bodyHash, signature: signature)
            )
        case 0x18:
            let sequence = try Self.integer(&buffer)
            guard let id = buffer.readInteger(as: UInt64.self) else { throw .truncated }
            return .newConnectionID(sequence: sequence, ConnectionID(rawValue: id))
        case 0x19: return .retireConnectionID(sequence: try Self.integer(&buffer))
        case 0x47: return .candidates(sequence: try Self.integer(&buffer), try Self.candidates(&buffer))
        default: throw .unknownFrame(type)
        }
    }

    private static func candidates(_ buffer: inout ByteBuffer) throws(SessionDecodingError) -> [DirectCandidate] {
        let count = try Self.length(&buffer, most: DirectCandidate.maximumCount)
        var candidates: [DirectCandidate] = []
        for _ in 0..<count {
            guard let kind = buffer.readInteger(as: UInt8.self) else { throw .truncated }
            guard let address = TransportAddress(&buffer) else { throw .outOfRange }
            // Kinds that this version does not know are ignored.
            if let kind = DirectCandidate.Kind(rawValue: kind) { candidates.append(DirectCandidate(kind, address)) }
        }
        return candidates
    }

    private static func acknowledgement(
        _ buffer: inout ByteBuffer
    ) throws(SessionDecodingError) -> SessionFrame.Acknowledgement {
        let path = try Self.path(&buffer, most: PathID.direct)
        var upper = try Self.integer(&buffer)
        let delay = try Self.integer(&buffer)
        let count = try Self.integer(&buffer)
        guard count < UInt64(SessionFrame.Acknowledgement.maximumRanges) else { throw .outOfRange }
        var ranges: [ClosedRange<UInt64>] = []
        let first = try Self.integer(&buffer)
        guard first <= upper else { throw .outOfRange }
        ranges.append((upper - first)...upper)
        var lower = upper - first
        for _ in 0..<count {
            let gap = try Self.integer(&buffer)
            let length = try Self.integer(&buffer)
            // A gap of n represents n + 1 missing packets (RFC 9000, section 19.3.1).
            guard lower >= gap + 2, lower - gap - 2 >= length else { throw .outOfRange }
            upper = lower - gap - 2
            lower = upper - length
            ranges.append(lower...upper)
        }
        return SessionFrame.Acknowledgement(path: path, delay: delay, ranges: ranges)
    }

    static func integer(_ buffer: inout ByteBuffer) throws(SessionDecodingError) -> UInt64 {
        guard let value = buffer.readVariableLengthInteger() else { throw .truncated }
        return value
    }

    /// Decodes the number of a path.
    ///
    /// - Parameter most: The highest number that is allowed. By default, it is that of the last relay.
    static func path(
        _ buffer: inout ByteBuffer,
        most: PathID = PathID(rawValue: SessionConfiguration.maximumPaths - 1)
    ) throws(SessionDecodingError) -> PathID {
        let value = try Self.integer(&buffer)
        guard value <= UInt64(most.rawValue) else { throw .outOfRange }
        return PathID(rawValue: Int(value))
    }

    private static func stream(_ buffer: inout ByteBuffer) throws(SessionDecodingError) -> StreamID {
        StreamID(rawValue: try Self.integer(&buffer))
    }

    private static func length(_ buffer: inout ByteBuffer, most: Int) throws(SessionDecodingError) -> Int {
        let value = try Self.integer(&buffer)
        guard value <= UInt64(most) else { throw .truncated }
        return Int(value)
    }

    private static func text(_ buffer: inout ByteBuffer) throws(SessionDecodingError) -> String {
        let length = try Self.length(&buffer, most: SessionFrame.maximumTextLength)
        guard let text = buffer.readString(length: length) else { throw .truncated }
        return text
    }
}
