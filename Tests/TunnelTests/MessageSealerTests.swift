//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto
import Testing

@testable import Tunnel

@Suite("Encryption of messages between two peers")
struct MessageSealerTests {
    private let client = SecretKey.generate()
    private let exit = SecretKey.generate()

    private static func event(_ message: SealedEventMessage) throws -> Event {
        guard case .event(let received) = try ClientMessage.parse(message.message, maximumFilters: 1) else {
            throw ClientMessageIsMissing()
        }
        return received.event
    }

    private struct ClientMessageIsMissing: Error {}

    @Test("a message is opened by its recipient only, and carries its date")
    func roundTrip() throws {
        let sender = try MessageSealer(own: self.client, peer: self.exit.publicKey)
        let receiver = try MessageSealer(own: self.exit, peer: self.client.publicKey)
        let event = try Self.event(sender.seal([1, 2, 3], createdAt: 1_000))
        try event.verify()
        #expect(event.kind == .tunnelMessage)
        #expect(event.firstValue(of: "p")?.text == self.exit.publicKey.hex)
        let message = try receiver.open(event, recipient: self.exit.publicKey)
        #expect(message.plaintext == ByteBuffer(bytes: [1, 2, 3]))
        #expect(message.createdAt == 1_000)
        #expect(message.generation == 0)
        let stranger = try MessageSealer(own: .generate(), peer: self.client.publicKey)
        #expect(throws: MessageSealer.OpeningError.self) { try stranger.open(event, recipient: self.exit.publicKey) }
    }

    @Test("messages under old and new keys are opened until the old keys are erased")
    func generations() throws {
        var sender = try MessageSealer(own: self.client, peer: self.exit.publicKey)
        var receiver = try MessageSealer(own: self.exit, peer: self.client.publicKey)
        let old = try Self.event(sender.seal([0], createdAt: 1_000))
        let keys = (SecretKey.generate(), SecretKey.generate())
        let secrets = SessionSecrets(
            agreement: try ConversationKey(secretKey: keys.0, publicKey: keys.1.publicKey),
            encapsulated: try KeyEncapsulation.encapsulate(to: DecapsulationKey().encapsulationKey).secret,
            previous: nil,
            transcript: .zero
        )
        sender.prepare(1, own: keys.0)
        #expect(Set(sender.ownKeys) == [self.client.publicKey, keys.0.publicKey])
        sender.add(.init(number: 1, own: keys.0, peer: keys.1.publicKey, secrets: secrets))
        receiver = MessageSealer(session: receiver, secrets: secrets, isExit: true)
        receiver.add(.init(number: 1, own: keys.1, peer: keys.0.publicKey, secrets: secrets))
        // New keys are used only after a switch.
        #expect(sender.own.publicKey == self.client.publicKey)
        sender.use(1)
        let new = try Self.event(sender.seal([1], createdAt: 1_000))
        #expect(new.pubkey == keys.0.publicKey)
        #expect(try receiver.open(new, recipient: keys.1.publicKey).generation == 1)
        #expect(try receiver.open(old, recipient: self.exit.publicKey).isAnswer)
        #expect(receiver.erase(0) == nil, "the current keys are never erased")
        receiver.use(1)
        #expect(receiver.erase(0) == self.exit.publicKey)
        #expect(throws: MessageSealer.OpeningError.self) { try receiver.open(old, recipient: self.exit.publicKey) }
    }

    @Test("a generation that was not added cannot be used")
    func unprepared() throws {
        var sealer = try MessageSealer(own: self.client, peer: self.exit.publicKey)
        sealer.use(1)
        #expect(sealer.own.publicKey == self.client.publicKey)
    }
}
