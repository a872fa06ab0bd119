//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import TunnelProtocol

/// Decides which sessions of an exit end when a limit is exceeded. It performs no I/O.
enum SessionEviction {
    /// What the decision depends on, for one session.
    struct Candidate {
        var startedAt: NIODeadline
        /// The client's identity; nil for an exit without an access list.
        var owner: PublicKey?
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
    ///   - owner: The identity for which there must be room. Only an identity that would still have at least as many
    ///     sessions loses one.
    ///   - idleAge: Sessions that have been idle for less stay.
    static func sessionToReplace(
        among candidates: [Candidate],
        for owner: PublicKey?,
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
        return Self.sessionOfLargestShare(among: candidates, for: owner).map { ($0, .tooManySessions) }
    }

    private static func sessionOfLargestShare(among candidates: [Candidate], for owner: PublicKey?) -> Int? {
        guard let owner else { return nil }
        var shares: [PublicKey: Int] = [:]
        for candidate in candidates { if let owner = candidate.owner { shares[owner, default: 0] += 1 } }
        guard let largest = shares.max(by: { $0.value < $1.value }), largest.value > (shares[owner] ?? 0) + 1 else {
            return nil
        }
        return candidates.indices.filter { candidates[$0].owner == largest.key }
            .max { candidates[$0].startedAt < candidates[$1].startedAt }
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
