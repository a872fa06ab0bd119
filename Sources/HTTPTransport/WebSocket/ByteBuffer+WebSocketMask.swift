//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import NIOWebSocket

extension ByteBuffer {
    /// Masks or unmasks the readable bytes with a masking key (RFC 6455, section 5.3).
    ///
    /// It works on eight bytes at a time. NIO's own masking works byte by byte and limits the throughput of a client.
    package mutating func applyWebSocketMask(_ key: WebSocketMaskingKey) {
        let bytes = Array(key)
        guard bytes.count == 4, bytes != [0, 0, 0, 0] else { return }
        unsafe self.withUnsafeMutableReadableBytes { pointer in
            var word: UInt64 = 0
            for index in 0..<8 {
                word |= UInt64(bytes[index & 3]) << UInt64(index * 8)
            }
            word = UInt64(littleEndian: word)
            let count = pointer.count
            var index = 0
            while index + 8 <= count {
                let value = unsafe pointer.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                unsafe pointer.storeBytes(of: value ^ word, toByteOffset: index, as: UInt64.self)
                index += 8
            }
            while index < count {
                unsafe pointer[index] ^= bytes[index & 3]
                index += 1
            }
        }
    }
}
