//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The name that a client gives a subscription (NIP-01).
public struct SubscriptionID: Hashable, Sendable {
    /// Most characters.
    public static let maximumLength = 64

    public let bytes: ByteString

    /// Takes 1 to ``maximumLength`` characters; nil for any other number.
    public init?(_ bytes: ByteString) {
        guard !bytes.bytes.isEmpty, bytes.bytes.count <= Self.maximumLength * 4,
            bytes.text.unicodeScalars.count <= Self.maximumLength
        else { return nil }
        self.bytes = bytes
    }

    /// Takes any string that a relay sent back.
    init(unchecked bytes: [UInt8]) {
        self.bytes = ByteString(bytes)
    }
}

extension SubscriptionID: CustomStringConvertible {
    public var description: String { self.bytes.text }
}
