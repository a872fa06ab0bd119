//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The kind number of an event (NIP-01). It determines the meaning of the event and how relays store it.
package struct EventKind: RawRepresentable, Hashable, Sendable {
    /// The kind number.
    package let rawValue: UInt16

    /// Creates a kind from its number.
    package init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    /// Profile metadata (NIP-01).
    package static let metadata = EventKind(rawValue: 0)
    /// Contact list (NIP-02).
    package static let contacts = EventKind(rawValue: 3)
    /// Deletion request (NIP-09).
    package static let deletion = EventKind(rawValue: 5)
    /// Relay list (NIP-65).
    package static let relayList = EventKind(rawValue: 10_002)
    /// Authentication event that a client signs in response to an AUTH challenge (NIP-42).
    package static let authentication = EventKind(rawValue: 22_242)
    /// A TCP message (NIP-74).
    package static let tunnelMessage = EventKind(rawValue: 28_333)
    /// Announcement of a public exit (NIP-74).
    package static let exitAnnouncement = EventKind(rawValue: 38_333)
    /// TLS certificate of an exit (NIP-74).
    package static let exitCertificate = EventKind(rawValue: 38_334)
    /// Private key of an exit's certificate, encrypted to the exit itself. Only the reference implementation of NIP-74
    /// publishes it.
    package static let exitCertificateKey = EventKind(rawValue: 38_335)

    /// Which events of a kind relays store.
    package enum Retention: Hashable, Sendable {
        /// Relays store all events.
        case regular
        /// Relays store the newest event per author and kind.
        case replaceable
        /// Relays store the newest event per author, kind and `d` tag.
        case addressable
        /// Relays forward events to current subscribers and store none.
        case ephemeral
    }

    /// Which events of this kind relays store (NIP-01).
    package var retention: Retention {
        switch self.rawValue {
        case 0, 3, 10_000..<20_000: .replaceable
        case 20_000..<30_000: .ephemeral
        case 30_000..<40_000: .addressable
        default: .regular
        }
    }
}

extension EventKind: CustomStringConvertible {
    package var description: String { String(self.rawValue) }
}
