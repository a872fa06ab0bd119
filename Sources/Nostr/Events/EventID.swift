//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NostrCrypto

/// The SHA-256 of an event's canonical form (NIP-01).
public struct EventID: Hashable, Sendable {
    public let bytes: Bytes32

    public init(_ bytes: Bytes32) {
        self.bytes = bytes
    }

    /// Sixty-four lower-case hex digits.
    public var hex: String { self.bytes.hex }
}

extension EventID: CustomStringConvertible {
    public var description: String { self.hex }
}
