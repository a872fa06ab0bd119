//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Whether the peer still answers: when to send a keep-alive, when to ask whether the exit has restarted, and when the
/// peer counts as lost.
struct Liveness: Sendable {
    private let isExit: Bool
    private let shared: SharedSessionConfiguration
    private var configuration: SessionConfiguration { self.shared.value }
    private(set) var lastHeard: NIODeadline
    private var lastKeepAlive: NIODeadline
    /// When a PING was last sent by ``keepAliveDeadline(roundTrip:)``; nil if none was.
    private var lastSentKeepAlive: NIODeadline?
    /// When stream data was last received.
    private var lastData: NIODeadline?
    /// Since when this side waits for any packet from the peer, or nil if it does not wait.
    private var unansweredSince: NIODeadline?
    private var nextQuery: NIODeadline?
    private var lastQuery: NIODeadline?
    private var queries = 0

    /// Time between ``SessionSignal/askPeer`` signals while a new stream waits for the exit.
    private static let urgentInterval: TimeAmount = .milliseconds(800)

    /// A client that was receiving data sends a PING after this many round trips without a packet, or after
    /// ``shortestQuiet`` if that is longer.
    private static let quietRoundTrips: Int64 = 3
    private static let shortestQuiet: TimeAmount = .milliseconds(300)

    init(role: SessionStateMachine.Role, configuration: SharedSessionConfiguration, now: NIODeadline) {
        self.isExit = role == .exit
        self.shared = configuration
        self.lastHeard = now
        self.lastKeepAlive = now
    }

    // MARK: Packets

    /// Records that a packet of the peer was received.
    mutating func heard(at now: NIODeadline) {
        self.lastHeard = now
        self.unansweredSince = nil
        self.nextQuery = nil
        self.queries = 0
    }

    /// Records that stream data was received.
    mutating func heardData(at now: NIODeadline) { self.lastData = now }

    /// Records that a packet was sent which the peer must acknowledge.
    mutating func sentEliciting(at now: NIODeadline) {
        if self.unansweredSince == nil { self.unansweredSince = now }
    }

    /// When the peer counts as lost.
    var peerDeadline: NIODeadline { self.lastHeard + self.configuration.peerTimeout }

    // MARK: Keep-alive

    /// When the peer is sent a PING, while streams are open.
    ///
    /// - Parameter roundTrip: The shortest round-trip time of a path.
    func keepAliveDeadline(roundTrip: TimeAmount) -> NIODeadline {
        // A client that only receives has no unanswered packet by which it could detect that the exit is lost.
        if !self.isExit, let lastData, lastData > self.lastKeepAlive {
            let quiet = TimeAmount.nanoseconds(roundTrip.nanoseconds * Self.quietRoundTrips)
            let soon = self.lastHeard + min(self.configuration.suspicion, max(Self.shortestQuiet, quiet))
            // Data that comes now and then causes few PINGs.
            return self.lastSentKeepAlive.map { max(soon, $0 + self.configuration.suspicion) } ?? soon
        }
        return max(self.lastHeard, self.lastKeepAlive) + self.configuration.keepAlive
    }

    mutating func sentKeepAlive(at now: NIODeadline) {
        self.lastKeepAlive = now
        self.lastSentKeepAlive = now
    }

    // MARK: Queries

    /// When the client asks whether the exit has restarted; nil for an exit, and while nothing is unanswered.
    var queryDeadline: NIODeadline? {
        guard !self.isExit, let unansweredSince else { return nil }
        return self.nextQuery ?? unansweredSince + self.configuration.suspicion
    }

    /// Whether a query was scheduled after the last packet of the peer.
    var hasQuery: Bool { self.nextQuery != nil }

    /// Schedules the next query sooner, because no relay has the exit subscribed. The exit may have restarted.
    mutating func querySooner(at now: NIODeadline) {
        guard !self.isExit else { return }
        let soon = self.lastQuery.map { max(now, $0 + Self.urgentInterval) } ?? now
        self.nextQuery = min(self.nextQuery ?? soon, soon)
        if self.unansweredSince == nil { self.unansweredSince = now }
    }

    /// Records that the query was sent. The interval doubles, unless a new stream waits for the exit.
    mutating func sentQuery(isUrgent: Bool, at now: NIODeadline) {
        self.queries += 1
        let wait =
            isUrgent
            ? Self.urgentInterval
            : .nanoseconds(self.configuration.suspicion.nanoseconds << Int64(min(self.queries, 3)))
        self.nextQuery = now + wait
        self.lastQuery = now
    }
}
