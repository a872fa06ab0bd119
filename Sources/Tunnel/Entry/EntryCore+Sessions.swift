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

/// Offers, answers, and the life of a session at the entry.
extension EntryCore {
    // MARK: Offering

    /// Asks the exit for a session, with a CONNECT that any exit understands.
    func offer(_ association: EntryAssociation, mayFallBack: Bool, paths: [PathID]) {
        var terms = self.makeTerms(session: nil)
        // Early data is no secret from whoever learns the exit's key, and an exit that is not known might not take it.
        if self.configuration.isOptimistic, !mayFallBack, self.pins.contains(association.address.publicKey),
            let first = association.waiting.first, !first.earlyData.isEmpty,
            // For a place on the internet there is no room in an offer, and the exit has a service of its own at the port.
            NostrName.looksLikeName(first.request.destination),
            first.earlyData.count <= SessionOffer.EarlyData.maximumLength
        {
            terms.earlyData = SessionOffer.EarlyData(port: first.request.port ?? 0, bytes: first.earlyData)
        }
        let outgoing = OutgoingOffer(key: Self.makeKey(), terms: terms, mayFallBack: mayFallBack)
        let destination = self.destination(of: association)
        let hashes = [false, true].map {
            Bytes32.sha256(
                of: SessionOffer.plaintext(
                    outgoing.terms,
                    key: outgoing.key,
                    destination: destination,
                    isRepetition: $0
                )
            )
        }
        guard let link = self.makePlainLink(association) else { return }
        let offer = EntryOffer(link: link, outgoing: outgoing, hashes: hashes)
        association.carrier = .offering(offer)
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let key = association.key
        let endpoint = OfferEndpoint(
            onOpened: { bound.value.offerFellBack(key) },
            onEnded: { bound.value.offerFailed(key, $0 ?? .exitSilent) }
        )
        let proxy = DeferredEndpoint(endpoint)
        offer.stream = link.open(offering: outgoing, paths: paths, endpoint: proxy)
        proxy.release()
    }

    static func makeKey() -> String {
        var generator = SystemRandomNumberGenerator()
        return NIP74Dialect.makeKey(using: &generator)
    }

    func makeTerms(session: PublicKey?) -> SessionOffer.Terms {
        SessionOffer.Terms(
            nonce: Hex.encode(Bytes32.random().bytes.prefix(16)),
            parameters: SessionParameters(self.configuration.session),
            session: session
        )
    }

    var sessionConfiguration: SessionConfiguration {
        var configuration = self.configuration.session
        configuration.opensAtOnce = self.configuration.isOptimistic
        return configuration
    }

    func destination(of association: EntryAssociation) -> String {
        NostrName(publicKey: association.address.publicKey, relays: association.address.relays).encoded
    }

    /// A link of NIP-74 with the exit, under the association's first key.
    func makePlainLink(_ association: EntryAssociation) -> PeerLink? {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let key = association.key
        var configuration = self.configuration.dialect
        configuration.offerPatience = (
            self.configuration.session.offerPatience, self.configuration.session.offerTimeout
        )
        configuration.offerRepetition = self.configuration.session.offerRepetition
        // The exit's key was checked when its name was read.
        guard let ownKey = association.ownKey else { return nil }
        let link = try? PeerLink(
            peer: association.address.publicKey,
            ownKey: ownKey,
            dialect: NIP74Dialect(
                role: .entry(name: self.destination(of: association)),
                configuration: configuration
            ),
            loop: self.loop,
            metrics: self.metrics,
            logger: self.logger,
            owner: PeerLink.Owner(
                pathRefused: { _, path in
                    guard let connection = bound.value.connection(path, of: key) else { return }
                    bound.value.relayRefused(connection.url)
                },
                becameIdle: { bound.value.streamEnded() },
                heardData: { _ in bound.value.heardPlain(key) }
            ),
            connections: { bound.value.connection($0, of: key) }
        )
        for path in association.ready.sorted(by: { $0.rawValue < $1.rawValue }) {
            guard let connection = self.connection(path, of: key) else { continue }
            link?.addPath(path, PathDescription(url: connection.url, information: connection.information))
        }
        return link
    }

    /// Nobody accepted in time, or the exit spoke plain NIP-74.
    private func offerFellBack(_ key: PublicKey) {
        guard let association = self.associationsByKey[key], case .offering(let offer) = association.carrier,
            let stream = offer.stream
        else { return }
        // Another name of the exit may have got a session meanwhile.
        guard !self.pins.contains(association.address.publicKey) else {
            self.fail(association, .sessionRequired)
            return
        }
        association.carrier = .plain(offer.link)
        association.plainSince = .now()
        association.lateOffer = offer
        // Of one that was only to be measured nobody wants to know.
        self.logger.log(
            level: association.waiting.isEmpty ? .debug : .warning,
            "exit does not answer the offer of a session; speaking plain NIP-74 with it",
            metadata: ["exit": "\(association.address.publicKey.npub)"]
        )
        if association.waiting.isEmpty {
            offer.link.reset(stream, .connectionReset)
        } else {
            // CONNECT was that of the first request.
            let first = association.waiting.removeFirst()
            offer.link.replaceEndpoint(of: stream, with: first.endpoint)
            first.completion(.success(OpenedStream(link: offer.link, id: stream)))
            first.endpoint.opened()
        }
        self.serveWaiting(of: association)
        // Silence says little: the exit may be down, or overrun. Until it speaks, each new request asks again.
        if offer.link.isSilent { self.retire(association) }
    }

    /// The exit spoke plain NIP-74: for a while it is not asked for more.
    private func heardPlain(_ key: PublicKey) {
        guard let association = self.associationsByKey[key], self.configuration.dialectChoice == .auto,
            !self.pins.contains(association.address.publicKey)
        else { return }
        self.rememberPlain(association.address.publicKey)
    }

    func offerFailed(_ key: PublicKey, _ reason: StreamEnd) {
        guard let association = self.associationsByKey[key], case .offering = association.carrier else { return }
        self.fail(association, reason)
    }

    /// Answers all who wait, and forgets the exit: the next request begins anew.
    func fail(_ association: EntryAssociation, _ reason: StreamEnd) {
        let waiting = association.waiting
        association.waiting = []
        let isPinned = self.pins.contains(association.address.publicKey)
        self.forget(association)
        for request in waiting {
            request.completion(
                .failure(.offerFailed(reason, exit: association.address.publicKey, isPinned: isPinned))
            )
        }
    }

    // MARK: Answers

    /// Looks at an event to one of our keys from a key that is not known: an answer of the exit, under a fresh key.
    func receiveAnswer(_ event: Event, to association: EntryAssociation, recipient: PublicKey, path: PathID) {
        let own: SecretKey
        let key: String
        let hashes: [Bytes32]
        if let ownKey = association.ownKey, recipient == association.key,
            let offer = association.offer
        {
            (own, key, hashes) = (ownKey, offer.outgoing.key, offer.hashes)
        } else if let question = association.question, recipient == question.own.publicKey {
            (own, key, hashes) = (question.own, question.key, [question.hash])
        } else {
            self.metrics.rejected(.wrongAuthor)
            return
        }
        guard self.gate.admit(event) else { return }
        guard association.answers.take(at: .now()) else {
            self.metrics.rejected(.tooManyHandshakes)
            return
        }
        guard let conversation = try? ConversationKey(secretKey: own, publicKey: event.pubkey),
            let plaintext = try? conversation.open(Array(event.content.readableBytesView)),
            let answer = self.verified(plaintext, of: association, own: own, author: event.pubkey, hashes: hashes),
            answer.key == key
        else {
            self.metrics.rejected(.invalidAnswer)
            self.logger.debug("answer dropped: not the exit's", metadata: ["author": "\(event.pubkey)"])
            return
        }
        switch answer {
        case .accepted(let acceptance):
            guard case .offering(let offer) = association.carrier else {
                if association.lateOffer != nil { self.acceptedLate(association) }
                return
            }
            let body = Array(plaintext.dropLast(SessionAnswer.signatureLength))
            self.begin(association, offer, acceptance, body: body, peer: event.pubkey, path: path)
        case .refused(let refusal):
            self.refused(association, refusal)
        }
    }

    /// The exit speaks sessions after all, and was slow to say so: the next request gets one.
    private func acceptedLate(_ association: EntryAssociation) {
        association.lateOffer = nil
        self.plainExits[association.address.publicKey] = nil
        self.pin(association.address.publicKey)
        self.logger.info(
            "exit accepts a session after all; new requests get one",
            metadata: ["exit": "\(association.address.publicKey.npub)"]
        )
        self.retire(association)
    }

    func verified(
        _ plaintext: [UInt8],
        of association: EntryAssociation,
        own: SecretKey,
        author: PublicKey,
        hashes: [Bytes32]
    ) -> SessionAnswer? {
        guard plaintext.count > SessionAnswer.signatureLength,
            let signature = SchnorrSignature(Array(plaintext.suffix(SessionAnswer.signatureLength)))
        else { return nil }
        let body = Array(plaintext.dropLast(SessionAnswer.signatureLength))
        guard let answer = SessionAnswer(body: body) else { return nil }
        let exit = association.address.publicKey
        let isSigned = hashes.contains { hash in
            let signed = SessionAnswer.signedHash(
                exit: exit,
                client: own.publicKey,
                fresh: author,
                offerHash: hash,
                body: body
            )
            return exit.verify(signature, of: signed)
        }
        return isSigned ? answer : nil
    }

    func refused(_ association: EntryAssociation, _ refusal: SessionRefusal) {
        switch association.carrier {
        case .offering:
            self.fail(association, refusal.reason)
        case .session(let link):
            self.logger.info(
                "exit does not know the session any more",
                metadata: ["exit": "\(association.address.publicKey.npub)"]
            )
            link.close(refusal.reason)
        case .undecided, .plain:
            break
        }
    }
}
