//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A value of 32 bytes, such as a key, an event ID, a hash or a nonce.
///
/// It has no heap storage, because these values are hashed, compared and copied for every event.
public struct Bytes32: Hashable, Sendable {
    // The bytes in memory order, as four words to make equality and hashing fast.
    private let word0: UInt64
    private let word1: UInt64
    private let word2: UInt64
    private let word3: UInt64

    /// Number of bytes.
    public static let count = 32

    /// Thirty-two zero bytes.
    public static let zero = Bytes32(word0: 0, word1: 0, word2: 0, word3: 0)

    /// Number of zero bits at the start.
    package var leadingZeroBits: Int {
        var count = 0
        for word in [self.word0, self.word1, self.word2, self.word3] {
            let bits = UInt64(bigEndian: word).leadingZeroBitCount
            count += bits
            if bits < 64 { break }
        }
        return count
    }

    private init(word0: UInt64, word1: UInt64, word2: UInt64, word3: UInt64) {
        self.word0 = word0
        self.word1 = word1
        self.word2 = word2
        self.word3 = word3
    }

    /// Creates a value from the 32 bytes of `span` that start at `offset`; nil if there are fewer.
    public init?(_ span: Span<UInt8>, at offset: Int = 0) {
        guard offset >= 0, span.count - offset >= Self.count else { return nil }
        func word(_ index: Int) -> UInt64 {
            var value: UInt64 = 0
            for byte in 0..<8 {
                value |= UInt64(span[offset + index * 8 + byte]) << UInt64(byte * 8)
            }
            return UInt64(littleEndian: value)
        }
        self.init(word0: word(0), word1: word(1), word2: word(2), word3: word(3))
    }

    /// Creates a value from an array of 32 bytes; nil for any other length.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count == Self.count else { return nil }
        self.init(bytes.span)
    }

    /// Creates a value from 64 hex digits of either case; nil for anything else.
    public init?(hex: some StringProtocol) {
        guard let bytes = Hex.decode(hex) else { return nil }
        self.init(bytes)
    }

    /// Creates a value from the 64 lower-case hex digits of `span` that start at `offset`; nil for anything else.
    public init?(lowercaseHex span: Span<UInt8>, at offset: Int = 0) {
        guard offset >= 0, span.count - offset >= 64 else { return nil }
        var invalid: UInt8 = 0
        func word(_ index: Int) -> UInt64 {
            var value: UInt64 = 0
            for byte in 0..<8 {
                let position = offset + (index * 8 + byte) * 2
                let high = Hex.lowercaseValue(span[position])
                let low = Hex.lowercaseValue(span[position + 1])
                invalid |= high | low
                value |= UInt64((high & 15) << 4 | (low & 15)) << UInt64(byte * 8)
            }
            return UInt64(littleEndian: value)
        }
        let words = (word(0), word(1), word(2), word(3))
        guard invalid & 0xf0 == 0 else { return nil }
        self.init(word0: words.0, word1: words.1, word2: words.2, word3: words.3)
    }

    /// Creates 32 bytes with the system's cryptographically secure random number generator.
    public static func random() -> Bytes32 {
        var generator = SystemRandomNumberGenerator()
        return Bytes32(
            word0: generator.next(),
            word1: generator.next(),
            word2: generator.next(),
            word3: generator.next()
        )
    }

    /// The byte at `index` (0 to 31).
    public subscript(index: Int) -> UInt8 {
        let word: UInt64
        switch index >> 3 {
        case 0: word = self.word0
        case 1: word = self.word1
        case 2: word = self.word2
        default: word = self.word3
        }
        return UInt8(truncatingIfNeeded: word.littleEndian >> UInt64((index & 7) * 8))
    }

    /// The bytes as an array.
    public var bytes: [UInt8] {
        unsafe withUnsafeBytes(of: self) { unsafe Array($0) }
    }

    /// The bytes as 64 lower-case hex digits.
    public var hex: String {
        Hex.encode(self.bytes)
    }
}

extension Bytes32: Comparable {
    /// Compares the bytes in lexicographic order, which is also the order of the hex digits.
    public static func < (left: Bytes32, right: Bytes32) -> Bool {
        if left.word0 != right.word0 { return left.word0.bigEndian < right.word0.bigEndian }
        if left.word1 != right.word1 { return left.word1.bigEndian < right.word1.bigEndian }
        if left.word2 != right.word2 { return left.word2.bigEndian < right.word2.bigEndian }
        return left.word3.bigEndian < right.word3.bigEndian
    }
}

extension Bytes32: CustomStringConvertible {
    public var description: String { self.hex }
}
