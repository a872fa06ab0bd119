//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto
import Testing
import TunnelProtocol

@testable import Tunnel

@Suite("Handshake and renewal of keys")
struct SessionKeyExchangeTests {
    private let exit = SecretKey.generate()
    private let identity = SecretKey.generate()
    private let clientKey = SecretKey.generate()

    /// The result of a handshake at both sides.
    private struct Handshake {
        var client: AcceptedSession
        let exit: AcceptedOffer
    }

    private func offering(_ credential: Credential?) throws -> SessionOffering {
        try SessionOffering(
            to: self.exit.publicKey,
            ownKey: self.clientKey,
            parameters: SessionParameters(SessionConfiguration()),
            opening: OfferTerms.Opening(request: StreamRequest(destination: "", port: 22), data: [1, 2]),
            credential: credential,
            mayFallBack: false,
            date: 0
        )
    }

    private func accept(
        _ offering: SessionOffering,
        credential: Credential?,
        openedBytes: UInt64? = nil
    ) throws -> AcceptedOffer {
        let offer = SessionOffer(
            key: offering.outgoing.key,
            offer: offering.outgoing.offer,
            createdAt: 0,
            path: PathID(rawValue: 0)
        )
        let terms = try #require(offer.body.flatMap { OfferTerms(encoded: $0) })
        guard case .session(let encapsulationKey) = terms.purpose else { throw CryptoError.operationFailed }
        return try AcceptedOffer(
            offer,
            encapsulated: try KeyEncapsulation.encapsulate(to: encapsulationKey),
            client: self.clientKey.publicKey,
            key: .generate(),
            exit: self.exit,
            grant: AcceptedOffer.Grant(
                parameters: SessionParameters(SessionConfiguration()),
                relays: ["ws://a.example"],
                openedBytes: openedBytes,
                wantsIdentity: true
            ),
            credential: credential
        )
    }

    private func event(_ message: SealedEventMessage) throws -> Event {
        guard case .event(let received) = try ClientMessage.parse(message.message, maximumFilters: 1) else {
            throw CryptoError.operationFailed
        }
        return received.event
    }

    private func handshake(openedBytes: UInt64? = nil, exitKnowsClient: Bool = true) throws -> Handshake {
        let credential = try Credential(
            identity: self.identity,
            peer: self.exit.publicKey,
            exit: self.exit.publicKey
        )
        let offering = try self.offering(credential)
        let accepted = try self.accept(
            offering,
            credential: exitKnowsClient ? credential : nil,
            openedBytes: openedBytes
        )
        let event = try self.event(accepted.acceptance(on: PathID(rawValue: 3), createdAt: 1))
        let sealer = try MessageSealer(own: self.clientKey, peer: event.pubkey)
        let message = try sealer.open(event, recipient: self.clientKey.publicKey)
        let answer = try #require(offering.answer(in: message, sealer: sealer))
        guard case .accepted(let acceptance) = answer else { throw CryptoError.operationFailed }
        #expect(acceptance.path == PathID(rawValue: 3))
        return Handshake(client: try offering.complete(acceptance, sealer: sealer), exit: accepted)
    }

    @Test("both sides derive the same keys, and each direction has its own")
    func agreement() throws {
        let handshake = try self.handshake()
        let (client, exit) = (handshake.client.sealer, handshake.exit.sealer)
        let up = try self.event(client.seal([1, 2, 3], createdAt: 5))
        #expect(try exit.open(up, recipient: exit.own.publicKey).plaintext == ByteBuffer(bytes: [1, 2, 3]))
        let down = try self.event(exit.seal([4, 5, 6], createdAt: 5))
        #expect(try client.open(down, recipient: client.own.publicKey).plaintext == ByteBuffer(bytes: [4, 5, 6]))
        #expect(throws: MessageSealer.OpeningError.self) { try client.open(up, recipient: client.own.publicKey) }
        // NIP-44 alone does not decrypt packets.
        let plain = try MessageSealer(own: exit.own, peer: client.own.publicKey)
        #expect(throws: MessageSealer.OpeningError.self) { try plain.open(up, recipient: exit.own.publicKey) }
        #expect(handshake.client.transcript == handshake.exit.exchange.transcript(of: 0))
    }

    @Test("a repeated acceptance is recognized, and is no packet")
    func repeatedAnswer() throws {
        let handshake = try self.handshake()
        let event = try self.event(handshake.exit.acceptance(on: PathID(rawValue: 1), createdAt: 2))
        let message = try handshake.client.sealer.open(event, recipient: self.clientKey.publicKey)
        #expect(message.isAnswer)
    }

    @Test("the client knows whether the exit has its credential, and whether the stream was opened")
    func acceptance() throws {
        #expect(try self.handshake().client.exitKnowsClient)
        #expect(try !self.handshake(exitKnowsClient: false).client.exitKnowsClient)
        #expect(try self.handshake(openedBytes: 2).client.openedBytes == 2)
        #expect(try self.handshake(openedBytes: 1).client.openedBytes == nil)
        #expect(try self.handshake().client.openedBytes == nil)
    }

    @Test("an answer to another offer, or of another exit, is not accepted")
    func otherAnswers() throws {
        let offering = try self.offering(nil)
        let accepted = try self.accept(offering, credential: nil)
        let event = try self.event(accepted.acceptance(on: PathID(rawValue: 0), createdAt: 1))
        let sealer = try MessageSealer(own: self.clientKey, peer: event.pubkey)
        let message = try sealer.open(event, recipient: self.clientKey.publicKey)
        #expect(offering.answer(in: message, sealer: sealer) != nil)
        #expect(try self.offering(nil).answer(in: message, sealer: sealer) == nil)
        let otherAuthor = try MessageSealer(own: self.clientKey, peer: SecretKey.generate().publicKey)
        #expect(offering.answer(in: message, sealer: otherAuthor) == nil)
    }

    @Test("a key update gives both sides the same new keys, authenticated by the exit")
    func update() throws {
        let handshake = try self.handshake()
        var (client, exit) = (handshake.client.exchange, handshake.exit.exchange)
        for generation in 1...3 {
            let (own, request) = try client.begin(generation)
            let (atExit, answer) = try exit.answer(request)
            let atClient = try client.complete(answer)
            #expect(atClient.own.publicKey == own.publicKey && atClient.peer == atExit.own.publicKey)
            #expect(atClient.secrets.clientKey.bytes == atExit.secrets.clientKey.bytes)
            #expect(atClient.secrets.exitKey.bytes == atExit.secrets.exitKey.bytes)
            #expect(client.transcript(of: generation) == exit.transcript(of: generation))
            #expect(client.transcript(of: generation) != client.transcript(of: generation - 1))
            client.erase(generation - 1)
            #expect(client.transcript(of: generation - 1) == nil)
        }
    }

    @Test("an update that the exit has not signed, or whose keys are invalid, is rejected")
    func invalidUpdates() throws {
        let handshake = try self.handshake()
        var (client, exit) = (handshake.client.exchange, handshake.exit.exchange)
        let (_, request) = try client.begin(1)
        let invalid = KeyUpdate(
            generation: 1,
            key: request.key,
            content: .client(encapsulationKey: [UInt8](repeating: 0xff, count: KeyEncapsulation.keyLength))
        )
        #expect(throws: CryptoError.invalidEncapsulationKey) { try exit.answer(invalid) }
        let (_, answer) = try exit.answer(request)
        guard case .exit(var ciphertext, let signature) = answer.content else { return }
        ciphertext[0] ^= 1
        let changes: [KeyUpdate.Content] = [
            .exit(ciphertext: ciphertext, signature),
            .exit(ciphertext: answer.encoded, SchnorrSignature(r: .zero, s: signature.s)),
            request.content,
        ]
        for content in changes {
            let changed = KeyUpdate(generation: 1, key: answer.key, content: content)
            #expect(throws: CryptoError.self) { try client.complete(changed) }
        }
        _ = try client.complete(answer)
    }

    @Test("a signature of the identity is valid for one generation of one session")
    func identitySignature() throws {
        let (first, second) = (try self.handshake(), try self.handshake())
        let signed = try ClientIdentity(self.identity, generation: 0, transcript: first.client.transcript)
        #expect(signed.isProven(by: first.client.transcript))
        #expect(!signed.isProven(by: second.client.transcript))
    }
}
