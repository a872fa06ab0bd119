//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// Decides which sessions of an exit end when a limit is exceeded. It performs no I/O.
enum SessionEviction {
    /// What the decision depends on, for one session.
    struct Candidate {
        var startedAt: NIODeadline
        /// Whether the client is not subscribed on any connected relay.
        var isDeserted: Bool
        /// The time since which the session has no streams and no pending work. Nil while it has some.
        var idleSince: NIODeadline?
        /// Memory for received data that services have not yet read, in bytes.
        var heldBytes: Int
    }

    /// Returns the session that makes room for another one, and the reason for its end. This is the oldest deserted
    /// session, or else the one that has been idle for longest. Nil if no session may end.
    ///
    /// - Parameter idleAge: Sessions that have been idle for less stay.
    static func sessionToReplace(
        among candidates: [Candidate],
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
        guard let longest = idle.min(by: { $0.since < $1.since }), longest.since + idleAge <= now else { return nil }
        return (longest.index, nil)
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
