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
        /// No relay is ready, or more relays are waited for.
        case gathering
        /// A session was offered.
        case offering
        case plain(since: NIODeadline)
        case session
    }

    /// What the decision depends on.
    struct Situation {
        /// A stream waits, or the exit is to be measured.
        var isNeeded: Bool
        /// At least one relay is ready.
        var hasReadyRelay: Bool
        /// Another relay may become ready soon.
        var isConnecting: Bool
        /// The exit's relay list was asked for and has not arrived.
        var isAwaitingList: Bool
        /// The exit lists relays, and none of them is ready.
        var lacksListedRelay: Bool
    }

    enum Step: Hashable {
        case wait
        case offer(mayFallBack: Bool)
        case beginPlain
        /// Open the waiting streams with the protocol in use.
        case serve
    }

    private(set) var phase = Phase.gathering
    private let opening: Opening
    private let gatheringDeadline: NIODeadline
    private var listedDeadline: NIODeadline?

    /// - Parameter gatheringDeadline: Until then relays that are still connecting are waited for, because it is not known
    ///   by which the exit can be reached.
    init(_ opening: Opening, gatheringDeadline: NIODeadline) {
        self.opening = opening
        self.gatheringDeadline = gatheringDeadline
    }

    /// Records that the exit's relay list arrived. The entry waits until `deadline` for one of its relays.
    mutating func receivedList(waitingUntil deadline: NIODeadline) { self.listedDeadline = deadline }

    /// Returns what to do now, and enters the next phase if an offer or plain NIP-74 starts.
    mutating func advance(_ situation: Situation, at now: NIODeadline) -> Step {
        guard situation.isNeeded, situation.hasReadyRelay, !situation.isAwaitingList,
            !situation.isConnecting || self.gatheringDeadline <= now
        else { return .wait }
        if let listedDeadline, listedDeadline > now, situation.lacksListedRelay { return .wait }
        switch (self.phase, self.opening) {
        case (.gathering, .offer(let mayFallBack)):
            self.phase = .offering
            return .offer(mayFallBack: mayFallBack)
        case (.gathering, .plain):
            self.phase = .plain(since: now)
            return .beginPlain
        case (.offering, _): return .wait
        case (.plain, _), (.session, _): return .serve
        }
    }

    /// The exit did not answer the offer.
    mutating func fellBack(at now: NIODeadline) { self.phase = .plain(since: now) }

    /// The exit accepted the offer.
    mutating func accepted() { self.phase = .session }
}
