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
        let count = Self.encodedLength(bytes.count)
        return unsafe [UInt8](unsafeUninitializedCapacity: count) { output, initialized in
            unsafe bytes.withUnsafeBytes { unsafe Self.encode($0, into: UnsafeMutableRawBufferPointer(output)) }
            initialized = count
        }
    }

    /// Appends the encoded `bytes` to `output`, which must have room for them.
    static func encode(_ bytes: UnsafeRawBufferPointer, to output: inout OutputRawSpan) {
        let count = Self.encodedLength(bytes.count)
        unsafe output.withUnsafeMutableBytes { buffer, initialized in
            precondition(buffer.count - initialized >= count)
            let room = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[initialized...])
            unsafe Self.encode(bytes, into: room)
            initialized += count
        }
    }

    /// Number of characters of `count` encoded bytes.
    static func encodedLength(_ count: Int) -> Int { (count + 2) / 3 * 4 }

    private static func encode(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) {
        unsafe input.withMemoryRebound(to: UInt8.self) { input in
            unsafe Self.pairs.withUnsafeBufferPointer { unsafe Self.encode(input, into: output, $0) }
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
        guard characters.count.isMultiple(of: 4) else { return nil }
        var isValid = false
        let output = unsafe [UInt8](unsafeUninitializedCapacity: characters.count / 4 * 3) { output, initialized in
            unsafe characters.withUnsafeBufferPointer { input in
                (isValid, initialized) = unsafe Self.decode(input, into: output)
            }
        }
        return isValid ? output : nil
    }

    /// Appends the decoded characters to `output`, which must have room for three bytes for each group of four. Returns false unless
    /// they are valid, padded base64; ``decode(_:)`` says which is.
    ///
    /// - Parameter isEnd: Whether the characters may end with padding. If not, each group of four becomes three bytes.
    static func decode(_ characters: RawSpan, isEnd: Bool, to output: inout OutputRawSpan) -> Bool {
        let length = characters.byteCount
        guard length.isMultiple(of: 4) else { return false }
        let last = unsafe length > 0 ? characters.unsafeLoad(fromByteOffset: length - 1, as: UInt8.self) : 0
        guard isEnd || last != Self.padding else { return false }
        return unsafe output.withUnsafeMutableBytes { buffer, initialized in
            precondition(buffer.count - initialized >= length / 4 * 3)
            let room = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[initialized...])
            return unsafe room.withMemoryRebound(to: UInt8.self) { room in
                unsafe characters.withUnsafeBytes { input in
                    unsafe input.withMemoryRebound(to: UInt8.self) { input in
                        let (isValid, count) = unsafe Self.decode(input, into: room)
                        initialized += count
                        return isValid
                    }
                }
            }
        }
    }

    /// Decodes whole groups. Returns whether all characters are valid, and the number of bytes.
    private static func decode(
        _ input: UnsafeBufferPointer<UInt8>,
        into output: UnsafeMutableBufferPointer<UInt8>
    ) -> (isValid: Bool, count: Int) {
        let length = input.count
        guard length > 0 else { return (true, 0) }
        let pads = unsafe input[length - 1] != Self.padding ? 0 : input[length - 2] != Self.padding ? 1 : 2
        let invalid = unsafe Self.values.withUnsafeBufferPointer { unsafe Self.decode(input, pads, into: output, $0) }
        return (invalid & 0x80 == 0, length / 4 * 3 - pads)
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
