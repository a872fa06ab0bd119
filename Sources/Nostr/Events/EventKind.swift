//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// What an event is about, and with it how relays keep it (NIP-01).
public struct EventKind: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt16

    public init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    /// Profile metadata (NIP-01).
    public static let metadata = EventKind(rawValue: 0)
    /// Contact list (NIP-02).
    public static let contacts = EventKind(rawValue: 3)
    /// Deletion request (NIP-09).
    public static let deletion = EventKind(rawValue: 5)
    /// Relay list (NIP-65).
    public static let relayList = EventKind(rawValue: 10_002)
    /// Answer to an AUTH challenge (NIP-42).
    public static let authentication = EventKind(rawValue: 22_242)
    /// A TCP message (NIP-74).
    public static let tunnelMessage = EventKind(rawValue: 28_333)
    /// Announcement of a public exit (NIP-74).
    public static let exitAnnouncement = EventKind(rawValue: 38_333)
    /// Certificate of an exit (NIP-74).
    public static let exitCertificate = EventKind(rawValue: 38_334)
    /// Private key of an exit's certificate, sealed to itself (the reference's).
    public static let exitCertificateKey = EventKind(rawValue: 38_335)

    /// How relays keep events of a kind.
    public enum Retention: Hashable, Sendable {
        /// All are kept.
        case regular
        /// The newest per author and kind.
        case replaceable
        /// The newest per author, kind and `d` tag.
        case addressable
        /// None: handed on to whoever listens.
        case ephemeral
    }

    /// How relays keep events of this kind (NIP-01).
    public var retention: Retention {
        switch self.rawValue {
        case 0, 3, 10_000..<20_000: .replaceable
        case 20_000..<30_000: .ephemeral
        case 30_000..<40_000: .addressable
        default: .regular
        }
    }
}

extension EventKind: CustomStringConvertible {
    public var description: String { String(self.rawValue) }
}
