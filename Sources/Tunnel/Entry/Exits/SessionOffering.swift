//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
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
    private let exit: PublicKey
    let credential: Credential?
    /// The client's session key.
    let ownKey: SecretKey
    private var decapsulationKey: DecapsulationKey
    /// The stream that is opened together with the session.
    private let opening: OfferTerms.Opening?
    private let hash: Bytes32
    /// Whether the offer contains data of a stream.
    var hasSentData: Bool { self.opening?.data.isEmpty == false }
    weak var delegate: (any SessionOfferingDelegate)?
    private var stream: (carrier: any StreamCarrier, id: StreamID)?

    /// - Parameters:
    ///   - exit: The exit's long-term key.
    ///   - ownKey: The client's session key.
    ///   - parameters: The client's limits.
    ///   - opening: The stream to open together with the session.
    ///   - credential: The secret for the proof that the exit knows the client. Nil for an offer without a proof.
    ///   - mayFallBack: Whether plain NIP-74 may follow.
    ///   - date: The time in seconds since 1970, for the proof.
    /// - Throws: If no key can be generated.
    init(
        to exit: PublicKey,
        ownKey: SecretKey,
        parameters: SessionParameters,
        opening: OfferTerms.Opening?,
        credential: Credential?,
        mayFallBack: Bool,
        date: Int64
    ) throws(CryptoError) {
        let decapsulationKey = try DecapsulationKey()
        let uuid = EntryContext.makeUUID()
        var offer = EntryContext.makeOffer(
            OfferTerms(
                parameters: parameters,
                purpose: .session(encapsulationKey: try decapsulationKey.encapsulationKey),
                opening: opening
            )
        )
        if let credential {
            offer.prove(
                with: credential,
                exit: exit,
                client: ownKey.publicKey,
                uuid: uuid,
                at: date
            )
        }
        self.exit = exit
        self.ownKey = ownKey
        self.decapsulationKey = decapsulationKey
        self.opening = opening
        self.credential = credential
        self.hash = offer.hash(exit: exit, client: ownKey.publicKey, uuid: uuid)
        self.outgoing = OutgoingOffer(key: uuid, offer: offer, mayFallBack: mayFallBack)
    }

    /// Returns the exit's signed answer to this offer. Nil if the event contains something else.
    ///
    /// - Parameter sealer: The sealer for the client's key and the author of the event.
    func answer(in message: MessageSealer.Message, sealer: MessageSealer) -> SessionAnswer? {
        guard let answer = SessionAnswer(plaintext: Array(message.plaintext.readableBytesView)),
            answer.isSigned(by: self.exit, offerHash: self.hash, fresh: sealer.peer)
        else { return nil }
        return answer
    }

    /// Derives the keys of the session that the exit accepted.
    ///
    /// - Parameters:
    ///   - acceptance: A verified acceptance.
    ///   - sealer: The sealer that decrypted it.
    /// - Throws: If the ciphertext is invalid.
    func complete(_ acceptance: SessionAcceptance, sealer: MessageSealer) throws(CryptoError) -> AcceptedSession {
        let transcript = SessionTranscript(offerHash: self.hash, fresh: sealer.peer, body: acceptance.body)
        let secrets = SessionSecrets(
            agreement: sealer.conversation,
            encapsulated: try self.decapsulationKey.decapsulate(acceptance.terms.ciphertext),
            previous: nil,
            transcript: transcript.hash
        )
        var exitKnowsClient = false
        if let credential, let proof = acceptance.proof {
            exitKnowsClient = credential.isValid(proof, of: transcript.exitProvenMessage)
        }
        // The exit takes all bytes or none.
        let hasOpened =
            self.opening != nil && acceptance.terms.openedBytes == self.opening.map { UInt64($0.data.count) }
        return AcceptedSession(
            acceptance: acceptance,
            transcript: transcript,
            offering: self,
            sealer: MessageSealer(session: sealer, secrets: secrets, isExit: false),
            exchange: SessionKeyExchange(.client(of: self.exit), secrets: secrets, transcript: transcript),
            exitKnowsClient: exitKnowsClient,
            openedBytes: hasOpened ? self.opening?.data.count : nil
        )
    }

    /// Releases the memory that only the first acceptance needs. ``complete(_:sealer:)`` still works for an acceptance of
    /// another exit with the same key.
    func settle() {
        self.stream = nil
        self.decapsulationKey.shrink()
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
