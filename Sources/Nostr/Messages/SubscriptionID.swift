//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The ID that a client chooses for a subscription (NIP-01).
package struct SubscriptionID: Hashable, Sendable {
    /// Maximum length in Unicode scalars.
    package static let maximumLength = 64

    /// The ID.
    package let bytes: ByteString

    /// Creates an ID of 1 to ``maximumLength`` Unicode scalars; nil for any other length.
    package init?(_ bytes: ByteString) {
        guard !bytes.bytes.isEmpty, bytes.bytes.count <= Self.maximumLength * 4,
            bytes.text.unicodeScalars.count <= Self.maximumLength
        else { return nil }
        self.bytes = bytes
    }

    /// Creates an ID of any length. For messages from relays.
    init(unchecked bytes: [UInt8]) {
        self.bytes = ByteString(bytes)
    }
}

extension SubscriptionID: CustomStringConvertible {
    package var description: String { self.bytes.text }
}
