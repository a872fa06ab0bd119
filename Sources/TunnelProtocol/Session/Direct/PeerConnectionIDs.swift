//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import STUN

/// The connection IDs that the peer has given to this node for one session. Each is used for datagrams to one address, and from
/// one network of this node, so observers cannot link addresses by them (RFC 9000, section 9.5).
struct PeerConnectionIDs: Sendable {
    private struct Given: Sendable {
        let sequence: UInt64
        let id: ConnectionID
    }

    /// Maximum number of connection IDs that are kept.
    static let maximumCount = 32
    /// The last unused connection IDs are for addresses from which the peer has sent. When no more are left, those of addresses
    /// that are not needed are retired.
    static let reserve = 4

    private var unused: [Given] = []
    private var used: [(address: TransportAddress, given: Given)] = []
    /// The sequence numbers so far, because a frame may be repeated.
    private var sequences = ReceivedNumbers()

    /// Adds a connection ID. Returns false if the peer gives too many, or two with one number.
    mutating func insert(_ sequence: UInt64, _ id: ConnectionID) -> Bool {
        let known =
            self.unused.first { $0.sequence == sequence } ?? self.used.first { $0.given.sequence == sequence }?.given
        if let known { return known.id == id }
        guard self.sequences.insert(sequence) else { return true }
        guard self.unused.count + self.used.count < Self.maximumCount else { return false }
        let index = self.unused.firstIndex { $0.sequence > sequence } ?? self.unused.count
        self.unused.insert(Given(sequence: sequence, id: id), at: index)
        return true
    }

    /// Returns the connection ID for datagrams to an address. The first call for an address takes an unused one. Returns nil if none
    /// is left.
    ///
    /// - Parameters:
    ///   - address: The address.
    ///   - usesReserve: Whether the peer has sent from the address.
    mutating func id(for address: TransportAddress, usesReserve: Bool) -> ConnectionID? {
        if let known = self.used.first(where: { $0.address == address }) { return known.given.id }
        guard self.unused.count > (usesReserve ? 0 : Self.reserve) else { return nil }
        let given = self.unused.removeFirst()
        self.used.append((address, given))
        return given.id
    }

    /// Whether connection IDs of addresses that are not needed should be retired.
    var isScarce: Bool { self.unused.count <= Self.reserve }

    /// Removes the connection IDs of some addresses. Returns their sequence numbers, to be retired.
    mutating func release(where isReleased: (TransportAddress) -> Bool) -> [UInt64] {
        let released = self.used.filter { isReleased($0.address) }.map(\.given.sequence)
        self.used.removeAll { released.contains($0.given.sequence) }
        return released
    }
}
