//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// One tag of an event: a name and its values (NIP-01). Never empty.
public struct Tag: Hashable, Sendable {
    /// All fields, the name first.
    public let fields: [ByteString]

    /// A tag with its values.
    public init(_ name: ByteString, _ values: ByteString...) {
        self.fields = [name] + values
    }

    /// Takes fields as parsed; nil if there are none.
    public init?(fields: [ByteString]) {
        guard !fields.isEmpty else { return nil }
        self.fields = fields
    }

    /// The first field.
    public var name: ByteString { self.fields[0] }

    /// The second field; nil if there is none.
    public var value: ByteString? { self.fields.count > 1 ? self.fields[1] : nil }

    /// The name, if it is one of the letters that relays index.
    public var indexedLetter: UInt8? {
        guard self.fields[0].bytes.count == 1, Self.isIndexedLetter(self.fields[0].bytes[0]) else { return nil }
        return self.fields[0].bytes[0]
    }

    /// Whether `byte` is `a`–`z` or `A`–`Z`.
    public static func isIndexedLetter(_ byte: UInt8) -> Bool {
        (byte | 0x20) &- UInt8(ascii: "a") < 26
    }
}
