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

    /// Number of connection IDs that the peer has at the same time: one for each address of this node.
    static let active = DirectCandidate.maximumCount
    /// Maximum number of connection IDs that are issued in ``interval``. A peer that retires them faster has fewer for a while.
    static let issuedPerInterval = 32
    static let interval: TimeAmount = .seconds(3)
    /// How long a retired connection ID is accepted, because datagrams may still be on the way.
    private static let retirement: TimeAmount = .seconds(3)

    private let secret: Bytes32
    private var issued: [Issued] = []
    private var nextSequence: UInt64 = 0
    /// Number of connection IDs that were issued since a time.
    private var recent = (since: NIODeadline.uptimeNanoseconds(0), count: 0)

    /// - Parameter secret: 32 random bytes, from which the connection IDs are derived.
    init(secret: Bytes32) { self.secret = secret }

    /// Whether the peer was given connection IDs.
    var hasIssued: Bool { self.nextSequence > 0 }

    private var activeCount: Int { self.issued.count { $0.expires == nil } }

    /// Makes a connection ID for the peer; nil if it has enough, or too many were issued recently.
    mutating func issue(at now: NIODeadline) -> (sequence: UInt64, id: ConnectionID)? {
        guard self.activeCount < Self.active else { return nil }
        if self.recent.since + Self.interval <= now { self.recent = (now, 0) }
        guard self.recent.count < Self.issuedPerInterval else { return nil }
        self.recent.count += 1
        let sequence = self.nextSequence
        self.nextSequence += 1
        let id = ConnectionID(rawValue: self.secret.derivedInteger(.connectionID, sequence))
        self.issued.append(Issued(sequence: sequence, id: id))
        return (sequence, id)
    }

    /// Handles RETIRE_CONNECTION_ID. Returns false if the peer violated the protocol.
    mutating func retire(_ sequence: UInt64, at now: NIODeadline) -> Bool {
        guard sequence < self.nextSequence else { return false }
        // The frame may be repeated, because its acknowledgement was lost.
        guard let index = self.issued.firstIndex(where: { $0.sequence == sequence && $0.expires == nil }) else {
            return true
        }
        self.issued[index].expires = now + Self.retirement
        return true
    }

    /// When the next retired connection ID expires, or ``issue(at:)`` makes one again; nil if neither is due.
    var nextDeadline: NIODeadline? {
        let expiry = self.issued.compactMap(\.expires).min()
        guard self.hasIssued, self.activeCount < Self.active else { return expiry }
        let issue = self.recent.since + Self.interval
        return expiry.map { min($0, issue) } ?? issue
    }

    /// Removes the retired connection IDs that have expired, and returns them.
    mutating func removeExpired(at now: NIODeadline) -> [ConnectionID] {
        let expired = self.issued.filter { $0.expires.map { $0 <= now } ?? false }.map(\.id)
        self.issued.removeAll { expired.contains($0.id) }
        return expired
    }

    /// All connection IDs that are accepted.
    var all: [ConnectionID] { self.issued.map(\.id) }
}
