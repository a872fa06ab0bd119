//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The connection IDs that the peer has given to this node for one session.
struct PeerConnectionIDs: Sendable {
    /// Maximum number of connection IDs that are kept.
    static let maximumCount = 8

    private var ids: [(sequence: UInt64, id: ConnectionID)] = []
    /// The lowest sequence number that was not retired.
    private var lowest: UInt64 = 0

    /// The connection ID for datagrams to the peer; nil if the peer has given none.
    var current: ConnectionID? { self.ids.first?.id }

    /// The sequence number of ``current``.
    var currentSequence: UInt64? { self.ids.first?.sequence }

    /// Adds a connection ID. Returns false if the peer gives too many, or two with one number.
    mutating func insert(_ sequence: UInt64, _ id: ConnectionID) -> Bool {
        guard sequence >= self.lowest else { return true }
        if let known = self.ids.first(where: { $0.sequence == sequence }) { return known.id == id }
        guard self.ids.count < Self.maximumCount else { return false }
        let index = self.ids.firstIndex { $0.sequence > sequence } ?? self.ids.count
        self.ids.insert((sequence, id), at: index)
        return true
    }

    /// Uses the next connection ID from now on. Returns the sequence number to retire; nil if there is no other one.
    mutating func advance() -> UInt64? {
        guard self.ids.count > 1 else { return nil }
        let retired = self.ids.removeFirst().sequence
        self.lowest = retired + 1
        return retired
    }
}
