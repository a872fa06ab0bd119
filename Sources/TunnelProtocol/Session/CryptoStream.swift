//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The messages that agree on new keys, as an ordered sequence of bytes in each direction, like the CRYPTO frames of QUIC
/// (RFC 9000, section 19.6). A message may be longer than the smallest packet.
struct CryptoStream: Sendable {
    /// Maximum number of bytes that are buffered while earlier ones are missing. One message fits.
    static let maximumBuffer = 8_192
    /// Number of bytes in a frame. Frames of this length fit into every packet.
    private static let fragmentLength = 512

    private var sentOffset: UInt64 = 0
    private var received = ReceiveStream(window: Self.maximumBuffer)
    private var message = ByteBuffer()

    /// Returns the frames that carry a message.
    mutating func frames(of message: KeyUpdate) -> [SessionFrame] {
        var bytes = ByteBuffer(bytes: message.encoded)
        var frames: [SessionFrame] = []
        while let fragment = bytes.readSlice(length: min(Self.fragmentLength, bytes.readableBytes)),
            fragment.readableBytes > 0
        {
            frames.append(.crypto(offset: self.sentOffset, data: fragment))
            self.sentOffset += UInt64(fragment.readableBytes)
        }
        return frames
    }

    /// Handles a CRYPTO frame. Returns the messages that it completes.
    mutating func receive(_ data: ByteBuffer, at offset: UInt64) throws(SessionViolation) -> [KeyUpdate] {
        do throws(ReceiveStream.Violation) {
            _ = try self.received.insert(data, at: offset, isFinal: false)
        } catch {
            throw SessionViolation()
        }
        while let next = self.received.next() {
            self.received.consume(next.readableBytes)
            self.message.writeImmutableBuffer(next)
        }
        _ = self.received.renewCredit()
        var messages: [KeyUpdate] = []
        while let message = try KeyUpdate.next(&self.message) { messages.append(message) }
        self.message.discardReadBytes()
        return messages
    }
}
