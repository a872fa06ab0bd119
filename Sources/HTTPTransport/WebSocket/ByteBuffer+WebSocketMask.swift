//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import NIOWebSocket

/// Masking (RFC 6455, section 5.3). It works on eight bytes at a time. NIO's own masking works byte by byte and limits the
/// throughput of a client.
extension ByteBuffer {
    /// Masks or unmasks the readable bytes with a masking key.
    package mutating func applyWebSocketMask(_ key: WebSocketMaskingKey) {
        let mask = WebSocketMask(key)
        unsafe self.withUnsafeMutableReadableBytes { bytes in
            unsafe mask.apply(to: UnsafeRawBufferPointer(bytes), into: bytes)
        }
    }

    /// Returns a copy of the readable bytes, masked or unmasked with a masking key.
    package func webSocketUnmasked(_ key: WebSocketMaskingKey) -> ByteBuffer {
        let mask = WebSocketMask(key)
        var copy = ByteBuffer()
        unsafe copy.writeWithUnsafeMutableBytes(minimumWritableBytes: self.readableBytes) { output in
            unsafe self.withUnsafeReadableBytes { unsafe mask.apply(to: $0, into: output) }
            return self.readableBytes
        }
        return copy
    }
}

private struct WebSocketMask {
    /// The key twice, in memory order.
    private let word: UInt64

    init(_ key: WebSocketMaskingKey) {
        var word: UInt64 = 0
        for (index, byte) in key.enumerated() {
            word |= UInt64(byte) << UInt64(index * 8) | UInt64(byte) << UInt64(index * 8 + 32)
        }
        self.word = UInt64(littleEndian: word)
    }

    /// - Parameter output: May be the same memory as the input. It must be as long.
    func apply(to input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) {
        let count = input.count
        var index = 0
        while index + 8 <= count {
            let value = unsafe input.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            unsafe output.storeBytes(of: value ^ self.word, toByteOffset: index, as: UInt64.self)
            index += 8
        }
        while index < count {
            let shift = UInt64(index & 7) * 8
            unsafe output[index] = input[index] ^ UInt8(truncatingIfNeeded: UInt64(littleEndian: self.word) >> shift)
            index += 1
        }
    }
}
