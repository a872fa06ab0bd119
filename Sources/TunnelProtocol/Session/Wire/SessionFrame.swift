//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import NostrCrypto

/// What a session packet is made of. Names and numbers are those of RFC 9000, section 19, where it has them.
package enum SessionFrame: Hashable, Sendable {
    /// Asks for an acknowledgement on the path that it came by (0x01).
    case ping
    /// Packets that arrived (0x02); the one frame that is not acknowledged itself.
    case acknowledgement(Acknowledgement)
    /// The sender sends no more on the stream, and what it sent may be incomplete (0x04).
    case resetStream(StreamID, code: UInt64, finalSize: UInt64)
    /// The sender reads no more from the stream; the peer resets its direction (0x05).
    case stopSending(StreamID, code: UInt64)
    /// Bytes of a stream from `offset` on (0x0c to 0x0f).
    case stream(StreamID, offset: UInt64, data: ByteBuffer, isFinal: Bool)
    /// Most bytes of all streams together, counted from the start of the session (0x10).
    case maximumData(UInt64)
    /// Most bytes of one stream, counted from its start (0x11).
    case maximumStreamData(StreamID, UInt64)
    /// The session is over (0x1c).
    case connectionClose(code: UInt64, reason: String)
    /// Acknowledge this packet without waiting for more (0x1f, as in the draft on acknowledgement frequency).
    case immediateAcknowledgement
    /// Open a stream to a target (0x40).
    case openStream(StreamID, StreamRequest)
    /// The target of a stream is connected (0x41).
    case streamOpened(StreamID)
    /// The sender's key of the next generation (0x42).
    case keyUpdate(generation: UInt64, PublicKey)
    /// Who the client is (0x43); in every packet that opens a stream until one of them is acknowledged.
    case identity(ClientIdentity)
    /// The exit uses one more relay from now on (0x44).
    case newPath(SessionPathOffer)

    /// Packets of one path that arrived.
    package struct Acknowledgement: Hashable, Sendable {
        package var path: PathID
        /// Microseconds between the arrival of the largest packet and this frame.
        package var delay: UInt64
        /// Descending, disjoint, not adjacent; never empty.
        package var ranges: [ClosedRange<UInt64>]

        package init(path: PathID, delay: UInt64, ranges: [ClosedRange<UInt64>]) {
            self.path = path
            self.delay = delay
            self.ranges = ranges
        }

        /// Most bytes of a frame's head, and of each range.
        static let headLength = 1 + 4 * 8
        static let rangeLength = 16

        /// Most ranges that a frame carries: the newest.
        static let maximumRanges = 64
    }

    /// Longest destination of a stream, and longest reason of a close, in bytes.
    package static let maximumTextLength = 512

    /// Whether the packet that carries the frame is to be acknowledged (RFC 9000, section 13.2).
    var isAckEliciting: Bool {
        switch self {
        case .acknowledgement, .connectionClose, .immediateAcknowledgement: false
        case .ping, .resetStream, .stopSending, .stream, .maximumData, .maximumStreamData, .openStream, .streamOpened,
            .keyUpdate, .identity, .newPath:
            true
        }
    }
}

/// Why a packet's bytes are not frames.
package enum SessionDecodingError: Error, Hashable, Sendable {
    /// The bytes end inside of something.
    case truncated
    /// A frame type that version 1 does not have.
    case unknownFrame(UInt64)
    /// A number that cannot be: a range below zero, an offset beyond 2^62, a length beyond its bound.
    case outOfRange
    /// The version or the kind in the first byte is not known.
    case unknownKind(UInt8)
    /// The direction is the reader's own: somebody reflected it.
    case wrongDirection
}
