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

/// Learns what became of a ``SessionOffering``.
protocol SessionOfferingDelegate: AnyObject {
    /// The exit did not accept in time, or sent plain data: the offer's stream is an open stream of plain NIP-74.
    func offeringDidFallBack(_ offering: SessionOffering)
    /// The exit could not be reached, or answers only in plain NIP-74, which is not allowed with it.
    func offering(_ offering: SessionOffering, didFail reason: StreamEnd)
}

/// A session that was offered to an exit, and the stream of the CONNECT that offers it.
final class SessionOffering: AttachableEndpoint {
    let outgoing: OutgoingOffer
    private let exit: PublicKey
    private let ownKey: SecretKey
    /// Of the plaintexts that the exit may have received: CONNECT and OFFER.
    private let hashes: [Bytes32]
    weak var delegate: (any SessionOfferingDelegate)?
    /// Answers of unknown authors that are decrypted; each costs a Diffie-Hellman.
    private var answers = TokenBucket(perSecond: EntryConfiguration.answersPerSecond, now: .now())
    private var stream: (carrier: any StreamCarrier, id: StreamID)?

    init(_ outgoing: OutgoingOffer, exit: PublicKey, ownKey: SecretKey, destination: String) {
        self.outgoing = outgoing
        self.exit = exit
        self.ownKey = ownKey
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

    /// Takes an event that may be the exit's answer. Returns nil for everything else, which is counted.
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

    /// Reads an event as the exit's signed answer to this offer. Nil if it is not.
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

    /// How many bytes of the offer's early data the exit took: all or none.
    func earlyBytes(taken acceptance: SessionAcceptance) -> Int {
        guard let early = self.outgoing.terms.earlyData, acceptance.parameters.earlyBytes == UInt64(early.bytes.count)
        else { return 0 }
        return early.bytes.count
    }

    /// Gives the offer's stream to a client, after the offer fell back.
    func handOver(to opening: StreamOpening) {
        guard let (carrier, id) = self.stream else { return }
        carrier.replaceEndpoint(of: id, with: opening)
        opening.attach(to: carrier, as: id, earlyBytes: 0)
        opening.opened()
    }

    /// Ends the offer's stream, for which there is no client.
    func discardStream() { self.stream.map { $0.carrier.reset($0.id, .connectionReset) } }

    // MARK: Stream

    func attach(to carrier: any StreamCarrier, as id: StreamID, earlyBytes: Int) { self.stream = (carrier, id) }
    func opened() { self.delegate?.offeringDidFallBack(self) }
    func ended(_ reason: StreamEnd?) { self.delegate?.offering(self, didFail: reason ?? .exitSilent) }
    // Until the offer falls back, the stream carries nothing.
    func credit(_ bytes: Int) {}
    func receive(_ data: ByteBuffer) {}
    func finished() {}
}
