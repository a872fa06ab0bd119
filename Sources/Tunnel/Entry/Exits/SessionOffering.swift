//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore
import Nostr
import NostrCrypto
import TunnelProtocol

/// Receives the result of a ``SessionOffering``.
protocol SessionOfferingDelegate: AnyObject {
    /// The exit did not accept in time, or sent plain data. The offer's stream is now an open stream of plain NIP-74.
    func offeringDidFallBack(_ offering: SessionOffering)
    /// The exit was not reachable, or it did not accept a session and plain NIP-74 is not allowed with it.
    func offering(_ offering: SessionOffering, didFail reason: StreamEnd)
}

/// The offer of a session to an exit, and the stream of the CONNECT that contains the offer.
final class SessionOffering: AttachableEndpoint {
    let outgoing: OutgoingOffer
    private let address: ExitAddress
    private var exit: PublicKey { self.address.publicKey }
    private let credential: Credential?
    private let ownKey: SecretKey
    private let destination: String
    /// The hashes of the plaintexts that the exit may have received: CONNECT and OFFER.
    private let hashes: [Bytes32]
    weak var delegate: (any SessionOfferingDelegate)?
    /// Limits the rate at which answers of unknown authors are decrypted. Each needs a Diffie-Hellman key agreement.
    private var answers = TokenBucket(perSecond: EntryConfiguration.answersPerSecond, now: .now())
    private var stream: (carrier: any StreamCarrier, id: StreamID)?

    /// - Parameter credential: The secret with which the offer's proof was made. Nil if the offer has no proof.
    init(
        _ outgoing: OutgoingOffer,
        address: ExitAddress,
        ownKey: SecretKey,
        destination: String,
        credential: Credential?
    ) {
        self.outgoing = outgoing
        self.address = address
        self.credential = credential
        self.ownKey = ownKey
        self.destination = destination
        self.hashes = [false, true].map { isRepetition in
            Bytes32.sha256(
                of: SessionOffer.plaintext(
                    outgoing.terms,
                    key: outgoing.key,
                    destination: destination,
                    isRepetition: isRepetition
                )
            )
        }
    }

    /// Processes an event that may be the exit's answer. Returns the answer. For any other event, counts it as rejected
    /// and returns nil.
    func receive(_ event: Event, context: EntryContext) -> (answer: SessionAnswer, body: [UInt8])? {
        guard context.verifier.admit(event) else { return nil }
        guard self.answers.take(at: .now()) else {
            context.metrics.rejected(.tooManyHandshakes)
            return nil
        }
        guard let answer = self.answer(in: event) else {
            context.metrics.rejected(.invalidAnswer)
            context.logger.debug("invalid answer dropped", metadata: ["author": "\(event.pubkey)"])
            return nil
        }
        return answer
    }

    /// Decrypts and verifies the exit's signed answer to this offer. Nil if the event is not a valid answer.
    private func answer(in event: Event) -> (answer: SessionAnswer, body: [UInt8])? {
        guard let conversation = try? ConversationKey(secretKey: self.ownKey, publicKey: event.pubkey),
            let plaintext = try? conversation.open(Array(event.content.readableBytesView)),
            let verified = SessionAnswer.verified(
                plaintext,
                exit: self.exit,
                client: self.ownKey.publicKey,
                fresh: event.pubkey,
                offerHashes: self.hashes
            ), verified.answer.key == self.outgoing.key
        else { return nil }
        return verified
    }

    /// Returns the number of bytes of early data that the exit accepted: all or none.
    func earlyBytes(taken acceptance: SessionAcceptance) -> Int {
        guard let early = self.outgoing.terms.earlyData, acceptance.parameters.earlyBytes == UInt64(early.bytes.count)
        else { return 0 }
        return early.bytes.count
    }

    /// Makes the session that the exit accepted.
    ///
    /// - Parameter body: The acceptance as the exit signed it.
    /// - Throws: If the exit's session key `peer` is not on the curve, or signing the identity fails.
    func makeSession(
        _ acceptance: SessionAcceptance,
        body: [UInt8],
        peer: PublicKey,
        context: EntryContext
    ) throws -> OutgoingSession {
        try OutgoingSession(
            address: self.address,
            knowsClient: self.exitKnowsClient(acceptance, peer: peer),
            destination: self.destination,
            ownKey: self.ownKey,
            peer: peer,
            acceptance: acceptance,
            body: body,
            context: context
        )
    }

    /// Returns whether the acceptance proves that the exit has the credential of the offer.
    private func exitKnowsClient(_ acceptance: SessionAcceptance, peer: PublicKey) -> Bool {
        guard let credential, let proof = acceptance.proof else { return false }
        return self.hashes.contains { hash in
            credential.isValid(
                proof,
                of: SessionAcceptance.provenMessage(
                    exit: self.exit,
                    client: self.ownKey.publicKey,
                    fresh: peer,
                    offerHash: hash
                )
            )
        }
    }

    /// Passes the offer's stream to the opening of a client, after a fallback.
    func handOver(to opening: StreamOpening) {
        guard let (carrier, id) = self.stream else { return }
        carrier.replaceEndpoint(of: id, with: opening)
        opening.attach(to: carrier, as: id, earlyBytes: 0)
        opening.opened()
    }

    /// Resets the offer's stream, because no client needs it.
    func discardStream() { self.stream.map { $0.carrier.reset($0.id, .connectionReset) } }

    // MARK: Stream

    func attach(to carrier: any StreamCarrier, as id: StreamID, earlyBytes: Int) { self.stream = (carrier, id) }
    func opened() { self.delegate?.offeringDidFallBack(self) }
    func ended(_ reason: StreamEnd?) { self.delegate?.offering(self, didFail: reason ?? .exitSilent) }
    // The stream carries no data before a fallback.
    func credit(_ bytes: Int) {}
    func receive(_ data: ByteBuffer) {}
    func finished() {}
}
