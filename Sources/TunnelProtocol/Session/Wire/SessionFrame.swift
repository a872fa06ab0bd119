//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import NostrCrypto

/// A frame of a session packet. Names and numbers follow RFC 9000, section 19, where it defines an equivalent frame.
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
    case openStream(StreamID, StreamRequest)
    /// Reports that the target of a stream is connected (0x41).
    case streamOpened(StreamID)
    /// Announces the sender's public key of the next generation (0x42).
    case keyUpdate(generation: UInt64, PublicKey)
    /// The identity of the client (0x43). Every packet that opens a stream contains it until one of them is
    /// acknowledged.
    case identity(ClientIdentity)
    /// Announces another relay that the exit uses from now on (0x44).
    case newPath(SessionPathOffer)

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
            .keyUpdate, .identity, .newPath:
            true
        }
    }
}

/// The reason why a packet cannot be decoded.
package enum SessionDecodingError: Error, Hashable, Sendable {
    /// A field exceeds the rest of the packet, or a text exceeds the maximum length.
    case truncated
    /// A frame type that version 1 does not define.
    case unknownFrame(UInt64)
    /// A number outside of its valid range, for example a negative packet number or an offset of 2^62 or more.
    case outOfRange
    /// The first byte contains an unknown version or kind.
    case unknownKind(UInt8)
    /// The packet has the direction of the reader's own packets, for example because it was reflected.
    case wrongDirection
}
