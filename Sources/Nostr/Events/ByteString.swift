//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A UTF-8 string that is compared byte by byte.
///
/// Swift's `String` treats `é` and `e` followed by a combining accent as equal. Nostr filters, tags and addresses do
/// not.
///
/// A long string is hashed when it is created, so that looking it up in many sets that do not contain it costs no more than
/// for a short one.
package struct ByteString: Hashable, Sendable {
    /// The UTF-8 bytes.
    package let bytes: [UInt8]
    /// The hash of a long string; 0 for a short one.
    private let digest: Int

    /// Maximum length of a string that is hashed with each lookup.
    private static let maximumShort = 128

    /// Creates a string from UTF-8 bytes. They are not validated.
    package init(_ bytes: [UInt8]) {
        self.bytes = bytes
        self.digest = bytes.count > Self.maximumShort ? Self.hash(of: bytes) : 0
    }

    /// Creates a string from the UTF-8 form of `text`.
    package init(_ text: String) {
        self.init(Array(text.utf8))
    }

    private static func hash(of bytes: [UInt8]) -> Int {
        var hasher = Hasher()
        // The buffer is used only during the call.
        unsafe bytes.withUnsafeBytes { unsafe hasher.combine(bytes: $0) }
        return hasher.finalize()
    }

    package static func == (left: Self, right: Self) -> Bool {
        left.digest == right.digest && left.bytes == right.bytes
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(self.bytes.count)
        if self.bytes.count > Self.maximumShort {
            hasher.combine(self.digest)
        } else {
            // As above.
            unsafe self.bytes.withUnsafeBytes { unsafe hasher.combine(bytes: $0) }
        }
    }

    /// The string for display and logs. Invalid UTF-8 is replaced with U+FFFD.
    package var text: String { String(decoding: self.bytes, as: UTF8.self) }
}

extension ByteString: ExpressibleByStringLiteral {
    package init(stringLiteral value: String) {
        self.init(value)
    }
}

extension ByteString: CustomStringConvertible {
    package var description: String { self.text }
}
