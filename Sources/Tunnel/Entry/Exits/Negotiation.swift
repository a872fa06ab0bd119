//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Decides whether an entry uses a session or plain NIP-74 with an exit, and when it starts. It performs no I/O.
///
/// In the phase `gathering` it waits for relays. Then it offers a session, or uses plain NIP-74 immediately. An offer
/// leads to a session or to plain NIP-74, or fails.
struct Negotiation {
    /// The protocol with which the entry starts.
    enum Opening: Hashable {
        /// Offer a session. If it is not answered, plain NIP-74 may follow.
        case offer(mayFallBack: Bool)
        case plain
    }

    enum Phase: Hashable {
        /// The entry waits for relays.
        case gathering
        /// A session was offered.
        case offering
        case plain(since: NIODeadline)
        case session
    }

    /// The conditions on which the decision depends.
    struct Situation {
        /// Whether a stream waits or the exit is to be measured.
        var isNeeded: Bool
        /// Whether at least one relay is ready.
        var hasReadyRelay: Bool
        /// Whether another relay may become ready soon.
        var isConnecting: Bool
        /// Whether a query for the exit's relay list is pending.
        var isAwaitingList: Bool
        /// Whether the exit has a relay list and none of its relays is ready.
        var lacksListedRelay: Bool
    }

    enum Step: Hashable {
        /// Wait for something to happen, at most until this time; nil if no time is known.
        case wait(until: NIODeadline?)
        case offer(mayFallBack: Bool)
        case beginPlain
        /// Open the waiting streams with the protocol in use.
        case serve
    }

    private(set) var phase = Phase.gathering
    private let opening: Opening
    private var gatheringDeadline: NIODeadline
    private let slowerRelayTimeout: TimeAmount
    private var listedDeadline: NIODeadline?

    /// - Parameters:
    ///   - opening: The protocol with which the entry starts.
    ///   - gatheringDeadline: Time until which the entry waits for connecting relays, because it is not known on which
    ///     relays the exit listens.
    ///   - slowerRelayTimeout: How long it waits for them after the first relay is ready.
    init(_ opening: Opening, gatheringDeadline: NIODeadline, slowerRelayTimeout: TimeAmount) {
        self.opening = opening
        self.gatheringDeadline = gatheringDeadline
        self.slowerRelayTimeout = slowerRelayTimeout
    }

    /// Whether plain NIP-74 may follow an offer.
    var mayFallBack: Bool { self.opening == .offer(mayFallBack: true) }

    /// Records that the exit's relay list arrived. The entry waits until `deadline` for one of its relays.
    mutating func receivedList(waitingUntil deadline: NIODeadline) { self.listedDeadline = deadline }

    /// Returns what to do now, and enters the next phase if an offer or plain NIP-74 starts.
    mutating func advance(_ situation: Situation, at now: NIODeadline) -> Step {
        guard situation.isNeeded, situation.hasReadyRelay, !situation.isAwaitingList else { return .wait(until: nil) }
        // An offer is repeated on relays that become ready later. Plain NIP-74 has no repetition, so a CONNECT that it may
        // use waits for them.
        if self.phase == .gathering, self.opening != .offer(mayFallBack: false), situation.isConnecting {
            self.gatheringDeadline = min(self.gatheringDeadline, now + self.slowerRelayTimeout)
            if self.gatheringDeadline > now { return .wait(until: self.gatheringDeadline) }
        }
        if let listedDeadline, listedDeadline > now, situation.lacksListedRelay { return .wait(until: listedDeadline) }
        switch (self.phase, self.opening) {
        case (.gathering, .offer(let mayFallBack)):
            self.phase = .offering
            return .offer(mayFallBack: mayFallBack)
        case (.gathering, .plain):
            self.phase = .plain(since: now)
            return .beginPlain
        case (.offering, _): return .wait(until: nil)
        case (.plain, _), (.session, _): return .serve
        }
    }

    /// Returns whether a waiting stream fails now, because no relay could be used for as long as it may wait.
    ///
    /// - Parameters:
    ///   - onlyIfUnreachable: Whether the stream may wait longer unless every relay has failed.
    ///   - isUnreachable: Whether every relay has failed.
    func givesUp(onlyIfUnreachable: Bool, isUnreachable: Bool) -> Bool {
        switch self.phase {
        case .gathering: isUnreachable || !onlyIfUnreachable
        // The offer has its own timeout.
        case .offering: false
        // The exit was reachable before, so wait for the relays to reconnect.
        case .plain, .session: !onlyIfUnreachable
        }
    }

    /// Records that the exit did not answer the offer.
    mutating func fellBack(at now: NIODeadline) { self.phase = .plain(since: now) }

    /// Records that the exit accepted the offer.
    mutating func accepted() { self.phase = .session }
}
