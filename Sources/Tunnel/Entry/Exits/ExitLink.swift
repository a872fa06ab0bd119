//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrClient
import TunnelProtocol

/// The link that carries the streams to one exit (entry).
enum ExitLink {
    /// Only the relay connections exist.
    case none
    /// Plain NIP-74. Until the exit has answered an offer, the link carries only the offer.
    case plain(PlainExit)
    case session(OutgoingSession)

    // MARK: State

    /// Whether only the relay connections exist.
    var isNone: Bool {
        guard case .none = self else { return false }
        return true
    }

    var isSession: Bool {
        guard case .session = self else { return false }
        return true
    }

    var streamCount: Int {
        switch self {
        case .none: 0
        case .plain(let plain): plain.link.streamCount
        case .session(let session): session.link.streamCount
        }
    }

    /// The time since which there is no stream. Nil while there is one.
    ///
    /// - Parameter start: The time since which there is no stream if there is no link.
    func idleSince(withoutLink start: NIODeadline) -> NIODeadline? {
        switch self {
        case .none: start
        case .plain(let plain): plain.link.isIdle ? plain.link.idleSince : nil
        case .session(let session): session.link.isIdle ? session.link.idleSince : nil
        }
    }

    /// Measurements of a session's paths, with their relays.
    var pathStatus: [(url: RelayURL, status: PathStatus)] {
        guard case .session(let session) = self else { return [] }
        return session.link.engine.pathStatus.compactMap { status in
            session.url(of: status.path).map { ($0, status) }
        }
    }

    /// The direct path of a session, or why there is none. Nil without a session.
    var directStatus: DirectStatus? {
        guard case .session(let session) = self else { return nil }
        return session.directStatus
    }

    /// The shortest round-trip time of a session's path in milliseconds. Nil if none was measured.
    var roundTrip: Double? {
        guard case .session(let session) = self else { return nil }
        return session.link.engine.pathStatus.compactMap(\.roundTrip).min().map { Double($0.nanoseconds) / 1_000_000 }
    }

    // MARK: Paths

    // A session observes the relays of its paths itself.

    /// Adds a relay as a path of plain NIP-74, or updates the path after the relay has reconnected.
    func addPath(_ path: PathID, _ relay: RelayConnection) {
        if case .plain(let plain) = self { plain.link.addPath(path, relay) }
    }

    /// Removes a path of plain NIP-74.
    func removePath(_ path: PathID) {
        if case .plain(let plain) = self { plain.link.removePath(path) }
    }

    /// Records whether the send buffer of a path of plain NIP-74 has room.
    func setWritable(_ path: PathID, _ isWritable: Bool) {
        if case .plain(let plain) = self { plain.link.setWritable(path, isWritable) }
    }

    // MARK: End

    /// Ends all streams and notifies the exit.
    ///
    /// - Parameter reason: Nil if no error occurred.
    func close(_ reason: StreamEnd?) {
        switch self {
        case .none: break
        case .plain(let plain): plain.link.close(reason)
        case .session(let session): session.close(reason)
        }
    }

    /// Stops without notifying the exit.
    func stop() {
        switch self {
        case .none: break
        case .plain(let plain): plain.link.abandon()
        case .session(let session): session.stop()
        }
    }
}
