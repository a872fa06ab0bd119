//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// What makes two requests share a session: the exit, the relays by which it is reached, and what isolates them.
struct ExitAddress: Hashable {
    let publicKey: PublicKey
    let relays: [RelayURL]
    var isolation: [UInt8] = []

    /// The connections that its sessions use.
    var lane: String {
        self.isolation.isEmpty ? EntryCore.lane : "\(EntryCore.lane)-\(Bytes32.sha256(of: self.isolation))"
    }
}

/// An exit that is talked to.
final class EntryAssociation {
    /// What carries the streams.
    enum Carrier {
        /// No relay is ready yet.
        case undecided
        /// A session was offered.
        case offering(EntryOffer)
        /// NIP-74 as the reference speaks it.
        case plain(PeerLink)
        case session(PeerLink)
    }

    /// How the exit is spoken to at first.
    enum Opening: Hashable {
        /// Offer a session.
        case offer(mayFallBack: Bool)
        /// Plain NIP-74.
        case plain
    }

    let address: ExitAddress
    let opening: Opening
    /// The first of our keys: what an offer, NIP-74 and the first generation of a session use. Erased here once the
    /// session has it, so that fresh keys are worth something.
    var ownKey: SecretKey?
    /// Its public side names the association in tables.
    let key: PublicKey
    var carrier = Carrier.undecided
    /// Our keys that relays know.
    var keys: Set<PublicKey> = []
    /// Where local path identifiers point into.
    var relays: [RelayPool.Key] = []
    /// Relays on which answers are heard.
    var ready: Set<PathID> = []
    /// In a session both ends use the exit's numbers of the relays; these are they, by ours.
    var sessionPaths: [PathID: PathID] = [:]
    var waiting: [WaitingRequest] = []
    /// A session is to begin though nobody waits for one.
    var isWanted = false
    /// Bytes of the first waiting request that the exit took with the offer.
    var earlyBytes = 0
    /// A question whether the exit still has the session.
    var question: EntryQuestion?
    /// How many were put in a silence, when the last, and when a person was told.
    var questions = 0
    var askedAt: NIODeadline?
    var complainedAt: NIODeadline?
    /// For relays that the exit names later.
    let laterPolicy: DialPolicy
    let startedAt = NIODeadline.now()
    /// The exit does not connect to us though it was asked to (CONNECTR).
    var connectsNever = false
    /// Since when plain NIP-74 is spoken.
    var plainSince: NIODeadline?
    /// An offer that was not answered in time. A late answer says that the exit speaks sessions after all.
    var lateOffer: EntryOffer?
    /// Answers that are looked at; each costs a Diffie-Hellman.
    var answers = TokenBucket(perSecond: EntryConfiguration.answersPerSecond, now: .now())
    /// Until then relays that are still connecting are waited for.
    let gatheringDeadline: NIODeadline
    /// Configured relays that were asked for the exit's list and have not answered.
    var listQuestions = 0
    /// Relays of that list: where the exit says that it reads.
    var listed: Set<PathID> = []
    /// Until then a listed relay is waited for, though another is ready.
    var listedDeadline: NIODeadline?

    /// Since when there has been no stream, and nobody waits for one; nil while that is not so.
    var idleSince: NIODeadline? {
        guard self.waiting.isEmpty else { return nil }
        guard let link = self.link else { return self.startedAt }
        return link.isIdle ? link.idleSince : nil
    }

    init(
        address: ExitAddress,
        ownKey: SecretKey,
        opening: Opening,
        laterPolicy: DialPolicy,
        gatheringDeadline: NIODeadline
    ) {
        self.laterPolicy = laterPolicy
        self.address = address
        self.opening = opening
        self.ownKey = ownKey
        self.key = ownKey.publicKey
        self.gatheringDeadline = gatheringDeadline
    }

    /// The offer that an answer may belong to.
    var offer: EntryOffer? {
        if case .offering(let offer) = self.carrier { offer } else { self.lateOffer }
    }

    var link: PeerLink? {
        switch self.carrier {
        case .undecided: nil
        case .offering(let offer): offer.link
        case .plain(let link), .session(let link): link
        }
    }
}

/// A session that was offered to an exit.
final class EntryOffer {
    /// Carries CONNECT, and becomes the carrier if nobody accepts.
    let link: PeerLink
    let outgoing: OutgoingOffer
    /// Of the plaintexts that an exit may have got: CONNECT and OFFER.
    let hashes: [Bytes32]
    /// The stream of CONNECT.
    var stream: StreamID?

    init(link: PeerLink, outgoing: OutgoingOffer, hashes: [Bytes32]) {
        self.link = link
        self.outgoing = outgoing
        self.hashes = hashes
    }
}

/// A question that was put to an exit which may have restarted.
struct EntryQuestion {
    let key: String
    let hash: Bytes32
    let own: SecretKey
}

/// A stream that was asked for.
struct OpenedStream {
    let link: any StreamCarrier
    let id: StreamID
    /// How many of the client's first bytes the exit has already.
    var earlyBytes = 0
}

/// A request that waits for a path.
struct WaitingRequest {
    let number: UInt64
    let request: StreamRequest
    /// What the client sent before it was answered, if that may go with the offer.
    let earlyData: [UInt8]
    let endpoint: any StreamEndpoint
    let completion: (Result<OpenedStream, EntryError>) -> Void
}
