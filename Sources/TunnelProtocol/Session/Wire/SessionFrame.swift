//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import NostrCrypto
import STUN

/// A frame of a session packet. Names and numbers follow RFC 9000, section 19, where it defines an equivalent frame.
///
/// Frames that are large and rare are stored indirectly, so that all others stay small.
package enum SessionFrame: Hashable, Sendable {
    /// Requests an acknowledgement on the path that carried the frame (0x01).
    case ping
    /// Acknowledges received packets (0x02). The frame is not ack-eliciting.
    case acknowledgement(Acknowledgement)
    /// The sender stops sending on the stream. Data sent before may be incomplete (0x04).
    case resetStream(StreamID, code: UInt64, finalSize: UInt64)
    /// The sender no longer reads from the stream. The peer resets its direction (0x05).
    case stopSending(StreamID, code: UInt64)
    /// Bytes of a stream, starting at `offset` (0x0c to 0x0f).
    case stream(StreamID, offset: UInt64, data: ByteBuffer, isFinal: Bool)
    /// Maximum number of bytes on all streams together, counted from the start of the session (0x10).
    case maximumData(UInt64)
    /// Maximum number of bytes on one stream, counted from its start (0x11).
    case maximumStreamData(StreamID, UInt64)
    /// Ends the session (0x1c).
    case connectionClose(code: UInt64, reason: String)
    /// Requests an immediate acknowledgement of the packet (0x1f, as in the draft on acknowledgement frequency).
    case immediateAcknowledgement
    /// Opens a stream to a target (0x40).
    indirect case openStream(StreamID, StreamRequest)
    /// Reports that the target of a stream is connected (0x41).
    case streamOpened(StreamID)
    /// Bytes of the messages that agree on new keys (``KeyUpdate``), starting at `offset` (0x06).
    case crypto(offset: UInt64, data: ByteBuffer)
    /// The identity of the client (0x43). Every packet that opens a stream contains it until one of them is
    /// acknowledged.
    indirect case identity(ClientIdentity)
    /// Announces another relay that the exit uses from now on (0x44).
    indirect case newPath(SessionPathOffer)
    /// A secret with which the client can prove, in its next offer, that the exit knows it (0x45).
    case newTicket(Bytes32, lifetime: UInt64)
    /// Another exit with the same key has accepted the client's offer (0x46).
    indirect case duplicateKey(DuplicateKeyReport)
    /// A connection ID for datagrams to the sender of the frame (0x18). The sequence numbers count from 0.
    case newConnectionID(sequence: UInt64, ConnectionID)
    /// The sender of the frame does not use a connection ID any more (0x19).
    case retireConnectionID(sequence: UInt64)
    /// The addresses at which the sender of the frame may be reached by datagrams (0x47). A list with a higher sequence number
    /// replaces the one before.
    case candidates(sequence: UInt64, [DirectCandidate])

    /// The received packets of one path.
    package struct Acknowledgement: Hashable, Sendable {
        package var path: PathID
        /// Microseconds between the arrival of the packet with the largest number and the sending of this frame.
        package var delay: UInt64
        /// The ranges of packet numbers in descending order. They are disjoint and not adjacent. There is at least
        /// one.
        package var ranges: [ClosedRange<UInt64>]

        package init(path: PathID, delay: UInt64, ranges: [ClosedRange<UInt64>]) {
            self.path = path
            self.delay = delay
            self.ranges = ranges
        }

        /// Maximum size in bytes of a frame without its ranges, and of each range.
        static let headLength = 1 + 4 * 8
        static let rangeLength = 16

        /// Maximum number of ranges in a frame. The newest ranges are sent.
        static let maximumRanges = 64
    }

    /// Maximum length in bytes of a stream's destination, of a close reason and of a relay URL.
    package static let maximumTextLength = 512

    /// Whether a packet with this frame must be acknowledged (RFC 9000, section 13.2).
    var isAckEliciting: Bool {
        switch self {
        case .acknowledgement, .connectionClose, .immediateAcknowledgement: false
        case .ping, .resetStream, .stopSending, .stream, .maximumData, .maximumStreamData, .openStream, .streamOpened,
            .crypto, .identity, .newPath, .newTicket, .duplicateKey, .newConnectionID, .retireConnectionID, .candidates:
            true
        }
    }

    // MARK: Encoding

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
            // Nearly every packet has this frame, so there is no array of its fields.
            buffer.writeVariableLengthInteger(isFinal ? 0x0f : 0x0e)
            buffer.writeVariableLengthInteger(id.rawValue)
            buffer.writeVariableLengthInteger(offset)
            buffer.writeVariableLengthInteger(UInt64(data.readableBytes))
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
        case .crypto(let offset, let data):
            Self.write([0x06, offset, UInt64(data.readableBytes)], into: &buffer)
            buffer.writeImmutableBuffer(data)
        case .identity(let identity):
            Self.write([0x43, UInt64(identity.generation)], into: &buffer)
            buffer.writeBytes(identity.publicKey.bytes.bytes)
            buffer.writeBytes(identity.signature.bytes)
        case .newPath(let offer):
            Self.write([0x44, UInt64(offer.path.rawValue)], into: &buffer)
            Self.write(offer.relay, into: &buffer)
        case .newTicket(let secret, let lifetime):
            Self.write([0x45, lifetime], into: &buffer)
            buffer.writeBytes(secret.bytes)
        case .duplicateKey(let report):
            Self.write([0x46], into: &buffer)
            buffer.writeBytes(report.fresh.bytes.bytes)
            buffer.writeBytes(report.bodyHash.bytes)
            buffer.writeBytes(report.signature.bytes)
        case .newConnectionID(let sequence, let id):
            Self.write([0x18, sequence], into: &buffer)
            buffer.writeInteger(id.rawValue)
        case .retireConnectionID(let sequence):
            Self.write([0x19, sequence], into: &buffer)
        case .candidates(let sequence, let candidates):
            let candidates = candidates.prefix(DirectCandidate.maximumCount)
            Self.write([0x47, sequence, UInt64(candidates.count)], into: &buffer)
            for candidate in candidates {
                buffer.writeInteger(candidate.kind.rawValue)
                candidate.address.encode(into: &buffer)
            }
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
        case .crypto(_, let data): 1 + 8 + 4 + data.readableBytes
        case .newPath(let offer): 2 + 1 + 2 + min(offer.relay.utf8.count, Self.maximumTextLength)
        case .newTicket: 2 + 8 + Bytes32.count
        case .duplicateKey: 2 + 2 * Bytes32.count + SchnorrSignature.length
        case .identity: 2 + 8 + Bytes32.count + SchnorrSignature.length
        case .newConnectionID: 1 + 8 + ConnectionID.length
        case .retireConnectionID: 1 + 8
        case .candidates(_, let candidates):
            2 + 8 + 1 + min(candidates.count, DirectCandidate.maximumCount) * (1 + TransportAddress.maximumLength)
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
