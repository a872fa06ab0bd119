//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A string compared byte by byte.
///
/// Swift's `String` calls `é` and `e` + accent equal; Nostr's filters, tags and addresses do not.
public struct ByteString: Hashable, Sendable {
    /// UTF-8.
    public let bytes: [UInt8]

    public init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    public init(_ text: String) {
        self.bytes = Array(text.utf8)
    }

    /// The text, for people and logs.
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
