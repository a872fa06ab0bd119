//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A UTF-8 string that is compared byte by byte.
///
/// Swift's `String` treats `é` and `e` followed by a combining accent as equal. Nostr filters, tags and addresses do
/// not.
public struct ByteString: Hashable, Sendable {
    /// The UTF-8 bytes.
    public let bytes: [UInt8]

    /// Creates a string from UTF-8 bytes. They are not validated.
    public init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// Creates a string from the UTF-8 form of `text`.
    public init(_ text: String) {
        self.bytes = Array(text.utf8)
    }

    /// The string for display and logs. Invalid UTF-8 is replaced with U+FFFD.
    public var text: String { String(decoding: self.bytes, as: UTF8.self) }
}

extension ByteString: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) {
        self.init(value)
    }
}

extension ByteString: CustomStringConvertible {
    public var description: String { self.text }
}
