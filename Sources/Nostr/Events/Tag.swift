//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A tag of an event: a name followed by values (NIP-01).
package struct Tag: Hashable, Sendable {
    /// The fields: the name, then the values. Never empty.
    package let fields: [ByteString]

    /// Creates a tag from its name and values.
    package init(_ name: ByteString, _ values: ByteString...) {
        self.fields = [name] + values
    }

    /// Creates a tag from its fields; nil if there are none.
    package init?(fields: [ByteString]) {
        guard !fields.isEmpty else { return nil }
        self.fields = fields
    }

    /// The name, which is the first field.
    package var name: ByteString { self.fields[0] }

    /// The first value, which is the second field; nil if there is none.
    package var value: ByteString? { self.fields.count > 1 ? self.fields[1] : nil }

    /// The name if it is a single letter, which relays index (NIP-01); otherwise nil.
    package var indexedLetter: UInt8? {
        guard self.fields[0].bytes.count == 1, Self.isIndexedLetter(self.fields[0].bytes[0]) else { return nil }
        return self.fields[0].bytes[0]
    }

    /// Whether `byte` is an ASCII letter.
    package static func isIndexedLetter(_ byte: UInt8) -> Bool {
        (byte | 0x20) &- UInt8(ascii: "a") < 26
    }
}
