//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CByteKernels
import NIOCore

/// The compressed form of messages of which one part is base64 (RFC 7692, RFC 1951).
///
/// The characters of encrypted content are equally likely, so nothing but their codes can be shortened: from eight bits to six.
/// No part of a message refers to another one, so the length of the message depends on nothing but its number of characters and
/// how many of them are `z`. What surrounds the content stays as it is:
///
/// | what | bytes |
/// |---|---|
/// | stored block: what precedes the content | `00`, length, inverted length, text |
/// | block of codes: the content | see ``CompressedText`` |
/// | stored block: what follows the content | length, inverted length, text |
/// | empty stored block, of which the last four bytes are left out | `00` |
enum DeflatedMessage {
    /// Minimum number of characters that are compressed. The overhead is 28 bytes.
    static let leastLength = 256
    /// Maximum number of bytes of a stored block.
    private static let longestStored = 65_535
    private static let lengthBytes = 4

    // MARK: Encoding

    /// Returns the parts of the compressed message; nil if its compressed part is not inside of it, or the rest is too long.
    static func encode(_ text: WebSocketText) -> [ByteBuffer]? {
        guard let compressed = text.compressed else { return nil }
        let tail = text.length - compressed.range.upperBound
        guard compressed.range.lowerBound <= Self.longestStored, (0...Self.longestStored).contains(tail) else {
            return nil
        }
        var head = ByteBuffer()
        head.reserveCapacity(1 + Self.lengthBytes + compressed.range.lowerBound)
        head.writeInteger(UInt8(0))
        Self.writeLength(compressed.range.lowerBound, to: &head)
        var rest = ByteBuffer()
        rest.reserveCapacity(Self.lengthBytes + tail + 1)
        Self.writeLength(tail, to: &rest)
        // The compressed part may be in one of the buffers, or in several.
        var start = 0
        for part in text.parts {
            let count = part.readableBytes
            let before = min(max(compressed.range.lowerBound - start, 0), count)
            let after = min(max(compressed.range.upperBound - start, 0), count)
            if let slice = part.getSlice(at: part.readerIndex, length: before) { head.writeImmutableBuffer(slice) }
            if let slice = part.getSlice(at: part.readerIndex + after, length: count - after) {
                rest.writeImmutableBuffer(slice)
            }
            start += count
        }
        rest.writeInteger(UInt8(0))
        return [head, compressed.block, rest]
    }

    private static func writeLength(_ length: Int, to buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt16(length), endianness: .little)
        buffer.writeInteger(~UInt16(length), endianness: .little)
    }

    /// Compresses base64 characters of a message. Returns nil if there are other characters among them, or too few.
    ///
    /// - Parameters:
    ///   - range: The place of the characters in the message, in bytes from the start.
    ///   - text: The message.
    static func compress(_ range: Range<Int>, of text: ByteBuffer) -> CompressedText? {
        var range = range
        guard range.lowerBound >= 0, range.upperBound <= text.readableBytes else { return nil }
        // At most two characters of padding.
        let end = text.readerIndex + range.upperBound
        for index in [end - 1, end - 2]
        where range.count > Self.leastLength && text.getInteger(at: index, as: UInt8.self) == UInt8(ascii: "=") {
            range = range.lowerBound..<(range.upperBound - 1)
        }
        guard range.count >= Self.leastLength,
            let characters = text.getSlice(at: text.readerIndex + range.lowerBound, length: range.count)
        else { return nil }
        var block = ByteBuffer()
        let written = unsafe block.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.bound(range.count)) {
            output in
            unsafe characters.withUnsafeReadableBytes { input in
                guard let source = input.baseAddress, let target = output.baseAddress else { return 0 }
                return unsafe nws_deflate_base64(source, input.count, target)
            }
        }
        return written > 0 ? CompressedText(block: block, range: range) : nil
    }

    /// Maximum number of bytes of a block: seven bits for each character, and what surrounds them.
    private static func bound(_ count: Int) -> Int { count / 8 * 7 + 40 }

    // MARK: Decoding

    /// Why a message was not decoded.
    enum DecodingError: Error {
        /// It does not have this form. It may be a valid message nevertheless.
        case otherForm
        /// The text is longer than the limit.
        case tooLong
    }

    /// Decompresses a message that ``encode(_:)`` has made.
    ///
    /// - Parameters:
    ///   - payload: The payload of the message.
    ///   - limit: Maximum number of bytes of the text.
    static func decode(
        _ payload: ByteBuffer,
        limit: Int
    ) throws(DecodingError) -> (text: ByteBuffer, compressed: CompressedText) {
        var payload = payload
        guard payload.readInteger(as: UInt8.self) == 0 else { throw .otherForm }
        var head = try Self.readStored(&payload)
        // A block has at least six bits for a character.
        let most = min(max(0, limit - head.readableBytes), payload.readableBytes * 4 / 3)
        var text = ByteBuffer()
        text.reserveCapacity(head.readableBytes + most + Self.room)
        text.writeBuffer(&head)
        let start = text.readableBytes
        var consumed = 0
        let count = unsafe text.writeWithUnsafeMutableBytes(minimumWritableBytes: most) { output in
            let characters = unsafe payload.withUnsafeReadableBytes { input -> Int in
                guard let source = input.baseAddress, let target = output.baseAddress else { return -1 }
                return unsafe nws_inflate_base64(source, input.count, target, most, &consumed)
            }
            return max(0, characters)
        }
        // An empty block is never sent, and has another cause: too many characters, or another form.
        guard count > 0, let block = payload.readSlice(length: consumed) else { throw .otherForm }
        var rest = try Self.readStored(&payload)
        guard payload.readInteger(as: UInt8.self) == 0, payload.readableBytes == 0 else { throw .otherForm }
        guard text.readableBytes + rest.readableBytes <= limit else { throw .tooLong }
        text.writeBuffer(&rest)
        return (text, CompressedText(block: block, range: start..<(start + count)))
    }

    /// What is expected to follow the content of an event: its signature.
    private static let room = 256

    private static func readStored(_ payload: inout ByteBuffer) throws(DecodingError) -> ByteBuffer {
        guard let length = payload.readInteger(endianness: .little, as: UInt16.self),
            payload.readInteger(endianness: .little, as: UInt16.self) == ~length,
            let stored = payload.readSlice(length: Int(length))
        else { throw .otherForm }
        return stored
    }
}
