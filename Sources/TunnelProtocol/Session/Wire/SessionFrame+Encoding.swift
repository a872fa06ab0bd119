//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
import NostrCrypto

extension SessionFrame {
    /// Maximum size in bytes of a STREAM frame without its data: type, stream, offset and length.
    static let streamOverhead = 1 + 8 + 8 + 4

    /// Appends the encoded frame to `buffer`.
    package func encode(into buffer: inout ByteBuffer) {
        switch self {
        case .ping:
            buffer.writeVariableLengthInteger(0x01)
        case .acknowledgement(let acknowledgement):
            Self.encode(acknowledgement, into: &buffer)
        case .resetStream(let id, let code, let finalSize):
            Self.write([0x04, id.rawValue, code, finalSize], into: &buffer)
        case .stopSending(let id, let code):
            Self.write([0x05, id.rawValue, code], into: &buffer)
        case .stream(let id, let offset, let data, let isFinal):
            Self.write(
                [isFinal ? 0x0f : 0x0e, id.rawValue, offset, UInt64(data.readableBytes)],
                into: &buffer
            )
            buffer.writeImmutableBuffer(data)
        case .maximumData(let limit):
            Self.write([0x10, limit], into: &buffer)
        case .maximumStreamData(let id, let limit):
            Self.write([0x11, id.rawValue, limit], into: &buffer)
        case .connectionClose(let code, let reason):
            Self.write([0x1c, code], into: &buffer)
            Self.write(reason, into: &buffer)
        case .immediateAcknowledgement:
            buffer.writeVariableLengthInteger(0x1f)
        case .openStream(let id, let request):
            Self.write([0x40, id.rawValue, UInt64(request.port ?? 0)], into: &buffer)
            Self.write(request.destination, into: &buffer)
        case .streamOpened(let id):
            Self.write([0x41, id.rawValue], into: &buffer)
        case .keyUpdate(let generation, let key):
            Self.write([0x42, generation], into: &buffer)
            buffer.writeBytes(key.bytes.bytes)
        case .identity(let identity):
            Self.write([0x43], into: &buffer)
            buffer.writeBytes(identity.publicKey.bytes.bytes)
            buffer.writeBytes(identity.signature.bytes)
        case .newPath(let offer):
            Self.write([0x44, UInt64(offer.path.rawValue)], into: &buffer)
            Self.write(offer.relay, into: &buffer)
        }
    }

    /// Maximum size in bytes of the encoded frame.
    package var maximumLength: Int {
        switch self {
        case .ping, .immediateAcknowledgement: 1
        case .acknowledgement(let acknowledgement):
            Acknowledgement.headLength + acknowledgement.ranges.count * Acknowledgement.rangeLength
        case .resetStream: 1 + 3 * 8
        case .stopSending, .maximumStreamData: 1 + 2 * 8
        case .stream(_, _, let data, _): Self.streamOverhead + data.readableBytes
        case .maximumData: 1 + 8
        case .connectionClose(_, let reason): 1 + 8 + 2 + min(reason.utf8.count, Self.maximumTextLength)
        case .openStream(_, let request): 2 + 8 + 4 + 2 + min(request.destination.utf8.count, Self.maximumTextLength)
        case .streamOpened: 2 + 8
        case .keyUpdate: 2 + 8 + Bytes32.count
        case .newPath(let offer): 2 + 1 + 2 + min(offer.relay.utf8.count, Self.maximumTextLength)
        case .identity: 2 + Bytes32.count + SessionAnswer.signatureLength
        }
    }

    private static func encode(_ acknowledgement: Acknowledgement, into buffer: inout ByteBuffer) {
        guard let first = acknowledgement.ranges.first else { return }
        let rest = acknowledgement.ranges.dropFirst()
        Self.write(
            [
                0x02, UInt64(acknowledgement.path.rawValue), first.upperBound, acknowledgement.delay,
                UInt64(rest.count), first.upperBound - first.lowerBound,
            ],
            into: &buffer
        )
        var lower = first.lowerBound
        for range in rest {
            Self.write([lower - range.upperBound - 2, range.upperBound - range.lowerBound], into: &buffer)
            lower = range.lowerBound
        }
    }

    private static func write(_ integers: [UInt64], into buffer: inout ByteBuffer) {
        for integer in integers { buffer.writeVariableLengthInteger(integer) }
    }

    private static func write(_ text: String, into buffer: inout ByteBuffer) {
        let bytes = text.utf8.prefix(Self.maximumTextLength)
        buffer.writeVariableLengthInteger(UInt64(bytes.count))
        buffer.writeBytes(bytes)
    }
}
