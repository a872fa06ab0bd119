//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CByteKernels

/// Standard base64 with padding (RFC 4648, section 4). Line breaks and other extra characters are errors.
///
/// All tunneled data passes through this code. It uses AVX2 instructions if the CPU has them, and lookup tables for the
/// rest of the input or on other CPUs. It avoids the input and output copies of a general-purpose library.
package enum Base64 {
    /// The two characters for each 12-bit value, in memory order.
    private static let pairs: [UInt16] = (0..<4_096).map { value in
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        return UInt16(littleEndian: UInt16(alphabet[value >> 6]) | UInt16(alphabet[value & 63]) << 8)
    }

    /// The six-bit value of each base64 character; 0x80 for all other bytes.
    private static let values: [UInt8] = {
        var values = [UInt8](repeating: 0x80, count: 256)
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8
        for (value, character) in alphabet.enumerated() { values[Int(character)] = UInt8(value) }
        return values
    }()

    private static let padding = UInt8(ascii: "=")

    /// Encodes `bytes` as ASCII characters.
    package static func encode(_ bytes: [UInt8]) -> [UInt8] {
        let count = (bytes.count + 2) / 3 * 4
        return unsafe [UInt8](unsafeUninitializedCapacity: count) { output, initialized in
            unsafe bytes.withUnsafeBufferPointer { input in
                unsafe Self.pairs.withUnsafeBufferPointer { pairs in
                    unsafe Self.encode(input, into: UnsafeMutableRawBufferPointer(output), pairs)
                }
            }
            initialized = count
        }
    }

    private static func encode(
        _ input: UnsafeBufferPointer<UInt8>,
        into output: UnsafeMutableRawBufferPointer,
        _ pairs: UnsafeBufferPointer<UInt16>
    ) {
        guard let source = input.baseAddress, let target = output.baseAddress else { return }
        var read = unsafe nws_base64_encode(source, input.count, target.assumingMemoryBound(to: UInt8.self))
        var written = read / 3 * 4
        while read + 3 <= input.count {
            let bits = unsafe Int(input[read]) << 16 | Int(input[read + 1]) << 8 | Int(input[read + 2])
            unsafe output.storeBytes(of: pairs[bits >> 12], toByteOffset: written, as: UInt16.self)
            unsafe output.storeBytes(of: pairs[bits & 4_095], toByteOffset: written + 2, as: UInt16.self)
            read += 3
            written += 4
        }
        let rest = input.count - read
        guard rest > 0 else { return }
        let bits = unsafe Int(input[read]) << 16 | (rest == 2 ? Int(input[read + 1]) << 8 : 0)
        unsafe output.storeBytes(of: pairs[bits >> 12], toByteOffset: written, as: UInt16.self)
        unsafe output.storeBytes(of: pairs[bits & 4_095], toByteOffset: written + 2, as: UInt16.self)
        unsafe output[written + 3] = Self.padding
        if rest == 1 { unsafe output[written + 2] = Self.padding }
    }

    /// Decodes ASCII characters; nil unless they are valid, padded base64.
    ///
    /// Unused bits of the last group are ignored, as in the decoders of other implementations.
    package static func decode(_ characters: [UInt8]) -> [UInt8]? {
        let length = characters.count
        guard length.isMultiple(of: 4) else { return nil }
        guard length > 0 else { return [] }
        let pads = characters[length - 1] != Self.padding ? 0 : characters[length - 2] != Self.padding ? 1 : 2
        let count = length / 4 * 3 - pads
        var invalid: UInt8 = 0
        let output = unsafe [UInt8](unsafeUninitializedCapacity: length / 4 * 3) { output, initialized in
            unsafe characters.withUnsafeBufferPointer { input in
                unsafe Self.values.withUnsafeBufferPointer { values in
                    invalid = unsafe Self.decode(input, pads, into: output, values)
                }
            }
            initialized = count
        }
        return invalid & 0x80 == 0 ? output : nil
    }

    /// Decodes all groups. Returns a value with its highest bit set if a character is invalid.
    private static func decode(
        _ input: UnsafeBufferPointer<UInt8>,
        _ pads: Int,
        into output: UnsafeMutableBufferPointer<UInt8>,
        _ values: UnsafeBufferPointer<UInt8>
    ) -> UInt8 {
        guard let source = input.baseAddress, let target = output.baseAddress else { return 0x80 }
        var invalid: UInt8 = 0
        let whole = pads == 0 ? input.count : input.count - 4
        var read = unsafe nws_base64_decode(source, whole, target)
        var written = read / 4 * 3
        while read < whole {
            let (a, b) = unsafe (values[Int(input[read])], values[Int(input[read + 1])])
            let (c, d) = unsafe (values[Int(input[read + 2])], values[Int(input[read + 3])])
            invalid |= a | b | c | d
            unsafe output[written] = a << 2 | b >> 4
            unsafe output[written + 1] = b << 4 | c >> 2
            unsafe output[written + 2] = c << 6 | d
            read += 4
            written += 3
        }
        guard pads > 0 else { return invalid }
        let (a, b) = unsafe (values[Int(input[read])], values[Int(input[read + 1])])
        let c = pads == 1 ? unsafe values[Int(input[read + 2])] : 0
        invalid |= a | b | c
        unsafe output[written] = a << 2 | b >> 4
        if pads == 1 { unsafe output[written + 1] = b << 4 | c >> 2 }
        return invalid
    }
}
