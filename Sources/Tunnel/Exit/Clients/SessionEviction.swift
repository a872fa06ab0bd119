//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import TunnelProtocol

/// Decides which sessions of an exit end when a limit is exceeded. It performs no I/O.
enum SessionEviction {
    /// Those among whom the sessions are shared: the identities of an access list, or without one the relays, because keys
    /// cost nothing.
    enum Share: Hashable {
        case identity(PublicKey)
        case relay(PathID?)
    }

    /// What the decision depends on, for one session.
    struct Candidate {
        var startedAt: NIODeadline
        var share: Share
        /// Whether a stream of the session was admitted.
        var isUsed = true
        /// Whether the client is not subscribed on any connected relay.
        var isDeserted: Bool
        /// The time since which the session has no open streams. Nil while it has some.
        var idleSince: NIODeadline?
        /// Memory for received data that services have not yet read, in bytes.
        var heldBytes: Int
    }

    /// Returns the session that makes room for another one, and the reason for its end. This is the oldest deserted
    /// session, or else the one that has been idle for longest, or else the newest one of the identity with the most
    /// sessions. Nil if no session may end.
    ///
    /// - Parameters:
    ///   - share: Whose session needs room. Only a share that would still have at least as many sessions loses one.
    ///   - idleAge: Sessions that have been idle for less stay.
    static func sessionToReplace(
        among candidates: [Candidate],
        for share: Share,
        idleAge: TimeAmount,
        at now: NIODeadline
    ) -> (index: Int, reason: StreamEnd?)? {
        let deserted = candidates.indices.filter { candidates[$0].isDeserted }
        if let oldest = deserted.min(by: { candidates[$0].startedAt < candidates[$1].startedAt }) {
            return (oldest, .peerLost)
        }
        let idle = candidates.indices.compactMap { index in
            candidates[index].idleSince.map { (index: index, since: $0) }
        }
        if let longest = idle.min(by: { $0.since < $1.since }), longest.since + idleAge <= now {
            return (longest.index, nil)
        }
        let newest = Self.newestOfLargestShare(among: candidates, for: share)
        return newest.map { ($0, .tooManySessions) }
    }

    private static func newestOfLargestShare(among candidates: [Candidate], for share: Share) -> Int? {
        let shares = Self.shares(of: candidates)
        guard let largest = shares.max(by: { $0.value < $1.value }), largest.value > (shares[share] ?? 0) + 1 else {
            return nil
        }
        return candidates.indices.filter { candidates[$0].share == largest.key }
            .max { candidates[$0].startedAt < candidates[$1].startedAt }
    }

    /// Returns the offer that makes room for another one: the oldest of the share with the most.
    ///
    /// - Parameter shares: The share of each offer, oldest first.
    static func offerToForget(among shares: [Share]) -> Int? {
        var counts: [Share: Int] = [:]
        for share in shares { counts[share, default: 0] += 1 }
        guard let largest = counts.max(by: { $0.value < $1.value })?.key else { return nil }
        return shares.firstIndex(of: largest)
    }

    private static func shares(of candidates: some Sequence<Candidate>) -> [Share: Int] {
        var shares: [Share: Int] = [:]
        for candidate in candidates { shares[candidate.share, default: 0] += 1 }
        return shares
    }

    /// Returns the sessions without an admitted stream that end: those older than `grace`, and as many as exceed `limit`,
    /// of the share with the most first, the oldest of a share first.
    static func unusedSessionsToEnd(
        among candidates: [Candidate],
        limit: Int,
        grace: TimeAmount,
        at now: NIODeadline
    ) -> [Int] {
        let unused = candidates.indices.filter { !candidates[$0].isUsed }
        var ended = unused.filter { candidates[$0].startedAt + grace <= now }
        var rest = unused.filter { candidates[$0].startedAt + grace > now }
            .sorted { candidates[$0].startedAt < candidates[$1].startedAt }
        while rest.count > limit {
            let largest = Self.shares(of: rest.map { candidates[$0] }).max { $0.value < $1.value }?.key
            guard let position = rest.firstIndex(where: { candidates[$0].share == largest }) else { break }
            ended.append(rest.remove(at: position))
        }
        return ended
    }

    /// Returns the sessions that end so that the total of ``Candidate/heldBytes`` is at most `limit`. Those that hold
    /// the most end first.
    static func sessionsOverLimit(among candidates: [Candidate], limit: Int) -> [Int] {
        var total = candidates.reduce(0) { $0 + $1.heldBytes }
        var ended: [Int] = []
        for index in candidates.indices.sorted(by: { candidates[$0].heldBytes > candidates[$1].heldBytes }) {
            guard total > limit else { break }
            total -= candidates[index].heldBytes
            ended.append(index)
        }
        return ended
    }
}
