//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto

/// The connection IDs that this node has given to its peer for one session.
struct OwnConnectionIDs: Sendable {
    /// A connection ID. It expires after the peer has retired it.
    private struct Issued: Sendable {
        let sequence: UInt64
        let id: ConnectionID
        var expires: NIODeadline?
    }

    /// Number of connection IDs that the peer has at the same time.
    static let active = 3
    /// Maximum number of retired connection IDs that are still accepted. A peer that retires more at once violates the protocol,
    /// because each is replaced by a new one.
    private static let maximumRetired = 16
    /// How long a retired connection ID is accepted, because datagrams may still be on the way.
    private static let retirement: TimeAmount = .seconds(3)

    private let secret: Bytes32
    private var issued: [Issued] = []
    private var nextSequence: UInt64 = 0
    /// The sequence number of the newest connection ID that the peer has used.
    private(set) var newestUsed: UInt64 = 0

    /// - Parameter secret: 32 random bytes, from which the connection IDs are derived.
    init(secret: Bytes32) { self.secret = secret }

    /// Makes a connection ID for the peer; nil if it has enough.
    mutating func issue() -> (sequence: UInt64, id: ConnectionID)? {
        guard self.issued.count(where: { $0.expires == nil }) < Self.active else { return nil }
        let sequence = self.nextSequence
        self.nextSequence += 1
        let id = ConnectionID(rawValue: self.secret.derivedInteger(.connectionID, sequence))
        self.issued.append(Issued(sequence: sequence, id: id))
        return (sequence, id)
    }

    /// Records that the peer has sent a datagram with a connection ID.
    mutating func used(_ id: ConnectionID) {
        guard let sequence = self.issued.first(where: { $0.id == id })?.sequence else { return }
        self.newestUsed = max(self.newestUsed, sequence)
    }

    /// Handles RETIRE_CONNECTION_ID. Returns false if the peer violated the protocol.
    mutating func retire(_ sequence: UInt64, at now: NIODeadline) -> Bool {
        guard sequence < self.nextSequence else { return false }
        // The frame may be repeated, because its acknowledgement was lost.
        guard let index = self.issued.firstIndex(where: { $0.sequence == sequence && $0.expires == nil }) else {
            return true
        }
        guard self.issued.count(where: { $0.expires != nil }) < Self.maximumRetired else { return false }
        self.issued[index].expires = now + Self.retirement
        return true
    }

    /// When the next retired connection ID expires; nil if none does.
    var nextDeadline: NIODeadline? { self.issued.compactMap(\.expires).min() }

    /// Removes the retired connection IDs that have expired, and returns them.
    mutating func removeExpired(at now: NIODeadline) -> [ConnectionID] {
        let expired = self.issued.filter { $0.expires.map { $0 <= now } ?? false }.map(\.id)
        self.issued.removeAll { expired.contains($0.id) }
        return expired
    }

    /// All connection IDs that are accepted.
    var all: [ConnectionID] { self.issued.map(\.id) }
}
