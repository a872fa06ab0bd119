//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CZlib
import NIOCore

/// Decompresses messages of any form (RFC 7692, section 7.2.2), with zlib.
@safe
final class MessageInflater {
    /// Why a message was not decompressed.
    enum Failure: Error {
        case invalid
        /// The text is longer than the limit.
        case tooLong
    }

    /// Whether a message may refer to what earlier ones contained. If not, no memory is used between messages.
    let keepsContext: Bool
    private var stream: UnsafeMutablePointer<z_stream>?

    /// DEFLATE without a header, and the largest window. The peer may use a smaller one.
    private static let windowBits: Int32 = -15
    /// The bit of zlib's `data_type` that is set between two blocks.
    private static let isBetweenBlocks: Int32 = 128
    /// The end of the last block, which the sender leaves out.
    private static let tail: [UInt8] = [0, 0, 0xff, 0xff]
    /// Minimum growth of the output buffer in bytes.
    private static let step = 4 << 10

    init(keepsContext: Bool) { self.keepsContext = keepsContext }

    deinit { self.close() }

    private func close() {
        guard let stream = unsafe self.stream else { return }
        unsafe inflateEnd(stream)
        unsafe stream.deallocate()
        unsafe self.stream = nil
    }

    private func open() throws(Failure) -> UnsafeMutablePointer<z_stream> {
        if let stream = unsafe self.stream { return unsafe stream }
        let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
        unsafe stream.initialize(to: unsafe z_stream())
        let size = Int32(unsafe MemoryLayout<z_stream>.size)
        guard unsafe inflateInit2_(stream, Self.windowBits, ZLIB_VERSION, size) == Z_OK else {
            unsafe stream.deallocate()
            throw .invalid
        }
        unsafe self.stream = stream
        return unsafe stream
    }

    /// Decompresses a message.
    ///
    /// - Parameters:
    ///   - payload: The payload of the message.
    ///   - limit: Maximum number of bytes of the text.
    func inflate(_ payload: ByteBuffer, limit: Int) throws(Failure) -> ByteBuffer {
        defer { if !self.keepsContext { self.close() } }
        let stream = try unsafe self.open()
        var payload = payload
        payload.writeBytes(Self.tail)
        var text = ByteBuffer()
        while payload.readableBytes > 0 {
            // One byte more shows that the text is too long.
            let room = min(
                limit + 1 - text.readableBytes,
                max(Self.step, text.readableBytes, payload.readableBytes * 2)
            )
            let before = (payload.readableBytes, text.readableBytes)
            guard unsafe Self.run(stream, &payload, &text, room) else { throw .invalid }
            guard text.readableBytes <= limit else { throw .tooLong }
            guard before != (payload.readableBytes, text.readableBytes) else { throw .invalid }
        }
        // The message ends between two blocks.
        guard unsafe stream.pointee.data_type & Self.isBetweenBlocks != 0 else { throw .invalid }
        return text
    }

    /// Decompresses as much as fits into `room` bytes. Returns false if the input is invalid.
    private static func run(
        _ stream: UnsafeMutablePointer<z_stream>,
        _ payload: inout ByteBuffer,
        _ text: inout ByteBuffer,
        _ room: Int
    ) -> Bool {
        var result = Z_OK
        unsafe text.writeWithUnsafeMutableBytes(minimumWritableBytes: room) { output in
            unsafe payload.readWithUnsafeMutableReadableBytes { input in
                unsafe stream.pointee.next_in = input.baseAddress?.assumingMemoryBound(to: UInt8.self)
                unsafe stream.pointee.avail_in = UInt32(input.count)
                unsafe stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
                unsafe stream.pointee.avail_out = UInt32(room)
                result = unsafe CZlib.inflate(stream, Z_SYNC_FLUSH)
                return unsafe input.count - Int(stream.pointee.avail_in)
            }
            return unsafe room - Int(stream.pointee.avail_out)
        }
        // After a last block, another one may follow (RFC 7692, section 7.2.3.4).
        if result == Z_STREAM_END { return unsafe inflateResetKeep(stream) == Z_OK }
        return result == Z_OK || result == Z_BUF_ERROR
    }
}
