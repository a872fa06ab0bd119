//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A UTF-8 string that is compared byte by byte.
///
/// Swift's `String` treats `é` and `e` followed by a combining accent as equal. Nostr filters, tags and addresses do
/// not.
package struct ByteString: Hashable, Sendable {
    /// The UTF-8 bytes.
    package let bytes: [UInt8]

    /// Creates a string from UTF-8 bytes. They are not validated.
    package init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// Creates a string from the UTF-8 form of `text`.
    package init(_ text: String) {
        self.bytes = Array(text.utf8)
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
