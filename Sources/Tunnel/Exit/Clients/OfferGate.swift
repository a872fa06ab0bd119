//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// Decides which messages an exit with an access list takes: offers and session queries with the proof of a client that
/// the list contains. Any other message is counted, logged at a limited rate, and dropped.
///
/// The checks are in the order of their cost. A message without a valid proof costs one key agreement.
final class OfferGate {
    /// Maximum length of an event's content: an offer with the most early data, encrypted, is shorter.
    private static let maximumContent = 32_768
    /// Signed refusals per second for clients that were removed or have expired, on the average and at once.
    private static let refusals = (perSecond: 1, burst: 20)
    /// Time between two refusals of one client. A client that repeats its offer must not use up what a relay takes.
    private static let refusalInterval: TimeAmount = .seconds(5)
    /// Offers and session queries per second of one identity. A client repeats an offer every 300 ms.
    private static let offersPerSecond = 20

    private let context: ExitContext
    private var table: CredentialTable
    private let journal: TicketJournal
    private var revoked: RevokedClients
    private var refusals: TokenBucket
    /// When a client was last refused. There are at most as many as clients in the table.
    private var refused: [Client: NIODeadline] = [:]
    /// There are at most as many as clients in the table.
    private var offers: [Client: TokenBucket] = [:]

    /// The key of a rate limit: an identity, or an invite, whose holders share the limit.
    private enum Client: Hashable {
        case identity(PublicKey)
        case invite([UInt8])

        init(_ known: KnownClient) {
            self = known.identity.map { .identity($0) } ?? .invite(known.credential.derived)
        }
    }

    init(context: ExitContext, journal: TicketJournal) {
        self.context = context
        self.journal = journal
        var tickets = TicketTable()
        do {
            tickets = try journal.read(now: Moment.now.seconds)
        } catch {
            context.logger.error(
                "cannot read the tickets of clients, which therefore use their identities",
                metadata: ["error": "\(error)"]
            )
        }
        self.table = CredentialTable(key: context.configuration.secretKey, tickets: tickets)
        self.revoked = RevokedClients(path: context.configuration.revokedFile)
        do {
            self.table.restore(revoked: try self.revoked.read(), at: Moment.now.seconds)
        } catch {
            context.logger.error(
                "cannot read the list of removed clients; they get no answer instead of a refusal",
                metadata: ["file": "\(context.configuration.revokedFile ?? "")", "error": "\(error)"]
            )
        }
        self.refusals = TokenBucket(perSecond: Self.refusals.perSecond, burst: Self.refusals.burst, now: .now())
    }

    /// Applies a new access list.
    func update(_ access: AuthorizedKeys) {
        let now = Moment.now.seconds
        for ticket in self.table.update(access, at: now) {
            self.journal.write(ticket, of: self.table.tickets, now: now)
        }
        self.offers = [:]
        self.refused = [:]
        do {
            try self.revoked.write(self.table.revokedClients)
        } catch {
            self.context.logger.error(
                "cannot write the list of removed clients; after a restart they get no answer instead of a refusal",
                metadata: ["file": "\(self.context.configuration.revokedFile ?? "")", "error": "\(error)"]
            )
        }
    }

    /// Creates a ticket for a client.
    func issueTicket(to identity: PublicKey) -> Bytes32 {
        let secret = Bytes32.random()
        let now = Moment.now.seconds
        let ticket = self.table.issue(secret, to: identity, at: now)
        self.journal.write(ticket, of: self.table.tickets, now: now)
        return secret
    }

    /// Records that an offer uses a ticket. Returns false if another offer has used it.
    func useTicket(_ hint: UInt64, by offer: Bytes32) -> Bool {
        let now = Moment.now.seconds
        guard let ticket = self.table.use(hint, by: offer, at: now) else { return false }
        self.journal.write(ticket, of: self.table.tickets, now: now)
        return true
    }

    /// Returns whether the offer of a client may be answered now. Call this method after the event was verified, so that
    /// copies of an event do not use up the rate.
    func admits(_ known: KnownClient) -> Bool {
        let now = NIODeadline.now()
        let isAdmitted =
            known.refusal == nil || known.refusal == .clockSkew
            ? self.offers[Client(known), default: TokenBucket(perSecond: Self.offersPerSecond, now: now)].take(at: now)
            : self.admitsRefusal(of: Client(known), at: now)
        if !isAdmitted { self.context.metrics.rejected(.tooManyHandshakes) }
        return isAdmitted
    }

    private func admitsRefusal(of client: Client, at now: NIODeadline) -> Bool {
        guard self.refused[client].map({ $0 + Self.refusalInterval <= now }) ?? true, self.refusals.take(at: now) else {
            return false
        }
        self.refused[client] = now
        return true
    }

    /// Returns the offer in an event, and the client whose proof it contains. Counts any other event as rejected and returns
    /// nil. The ID and signature of the event are not verified.
    ///
    /// - Parameters:
    ///   - event: The event.
    ///   - path: The relay by which it arrived.
    ///   - clockCorrection: The seconds by which the relays' clocks are ahead of this machine's.
    func offer(in event: Event, path: PathID, clockCorrection: Int64) -> (SessionOffer, KnownClient)? {
        let now = Moment.now.seconds
        let isRecent = NIP74Configuration.isRecent(event.createdAt, at: now)
        // An offer with another date is refused, if it has the proof of a client in the list.
        guard
            isRecent || NIP74Configuration.isExplained(event.createdAt, at: now, correction: clockCorrection),
            event.content.readableBytes <= Self.maximumContent,
            let conversation = try? ConversationKey(
                secretKey: self.context.configuration.secretKey,
                publicKey: event.pubkey
            ), let plaintext = try? conversation.open(Array(event.content.readableBytesView)),
            let message = NIP74Message(plaintext: ByteBuffer(bytes: plaintext)),
            message.kind == .connect || message.kind == .offer,
            let offer = message.offer.flatMap({ VersionedOffer(encoded: $0) }), let proof = offer.proof,
            NIP74Configuration.isRecent(proof.date, at: isRecent ? now : event.createdAt),
            let found = self.table.find(
                proof,
                at: now,
                where: {
                    offer.isProven(by: $0, exit: self.context.key, client: event.pubkey, uuid: message.key)
                }
            )
        else {
            self.context.metrics.rejected(.unauthorized)
            self.context.logLimited(
                .info,
                "message without a proof of an authorized device ignored",
                [:],
                topic: .strangers
            )
            return nil
        }
        let received = SessionOffer(key: message.key, offer: offer, createdAt: event.createdAt, path: path)
        let known = KnownClient(
            identity: found.identity,
            credential: found.credential,
            comment: found.comment,
            refusal: found.refusal ?? self.refusal(of: found.identity, at: now) ?? (isRecent ? nil : .clockSkew),
            ticketIsUsed: found.isUsed
        )
        return (received, known)
    }

    private func refusal(of identity: PublicKey?, at now: Int64) -> StreamEnd? {
        guard let identity, let access = self.context.configuration.access, !access.contains(identity, at: now) else {
            return nil
        }
        return access.grants[identity] == nil ? .revoked : .expired
    }
}
