//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import Testing

@testable import TunnelProtocol

@Suite("Key schedule")
struct KeyScheduleTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private static func client(_ generation: Int = 1) -> KeyUpdate {
        KeyUpdate(
            generation: generation,
            key: PublicKey(unchecked: Bytes32.sha256(of: [1])),
            content: .client(encapsulationKey: [UInt8](repeating: 1, count: KeyEncapsulation.keyLength))
        )
    }

    private static func exit(_ generation: Int = 1) -> KeyUpdate {
        KeyUpdate(
            generation: generation,
            key: PublicKey(unchecked: Bytes32.sha256(of: [2])),
            content: .exit(
                ciphertext: [UInt8](repeating: 2, count: KeyEncapsulation.ciphertextLength),
                SimulatedSession.identity.signature
            )
        )
    }

    private static var configuration: SessionConfiguration {
        var configuration = SessionConfiguration()
        configuration.keyLifetime = .seconds(100)
        configuration.keyBytes = 100_000
        configuration.keyOverlap = .seconds(10)
        return configuration
    }

    private static func schedule(_ role: SessionStateMachine.Role) -> KeySchedule {
        KeySchedule(role: role, configuration: SharedSessionConfiguration(Self.configuration), now: Self.start)
    }

    @Test("a client starts an update when its keys are old, and completes it with the exit's key")
    func byAge() throws {
        var client = Self.schedule(.client)
        #expect(client.nextDeadline == Self.start + .seconds(100))
        #expect(client.advance(at: Self.start + .seconds(99)) == [])
        let due = Self.start + .seconds(100)
        #expect(client.advance(at: due) == [.makeKey(generation: 1)])
        let isNew = client.prepared(Self.client())
        #expect(isNew)
        let isNewAgain = client.prepared(Self.client())
        #expect(!isNewAgain)
        let signals = try client.receive(Self.exit(), at: due)
        #expect(signals == [.completeKey(Self.exit()), .sealUnder(generation: 1)])
        // The old keys are erased only after the exit has used the new ones.
        #expect(client.advance(at: due + .seconds(50)) == [])
        #expect(client.heard(1, at: due + .seconds(50)) == nil)
        #expect(client.nextDeadline == due + .seconds(60))
        #expect(client.advance(at: due + .seconds(60)) == [.eraseKey(generation: 0)])
    }

    @Test("a client starts an update after a number of bytes in both directions")
    func byBytes() {
        var client = Self.schedule(.client)
        client.sealed(50_000, packets: 1)
        client.opened(49_999)
        #expect(client.advance(at: Self.start) == [])
        client.opened(1)
        #expect(client.advance(at: Self.start) == [.makeKey(generation: 1)])
    }

    @Test("small packets count as more than they are, because a key may seal only so many")
    func byPackets() {
        var client = Self.schedule(.client)
        client.sealed(97 * 20, packets: 97)
        #expect(client.advance(at: Self.start) == [])
        client.sealed(20, packets: 1)
        #expect(client.advance(at: Self.start) == [.makeKey(generation: 1)])
        // With the default, and with everything in one direction.
        let packets = SessionConfiguration().keyBytes / 1_024
        #expect(packets <= DatagramKey.confidentialityLimit / 2)
    }

    @Test("an exit never starts an update, and seals under the new keys when the client does")
    func exit() throws {
        var exit = Self.schedule(.exit)
        exit.sealed(1_000_000, packets: 1)
        // It ends the session if the client never updates.
        #expect(exit.nextDeadline == Self.start + .seconds(380))
        #expect(!exit.isExpired(at: Self.start + .seconds(379)))
        #expect(exit.isExpired(at: Self.start + .seconds(380)))
        let signals = try exit.receive(Self.client(), at: Self.start)
        #expect(signals == [.answerKey(Self.client())])
        #expect(exit.heard(1, at: Self.start) == nil)
        let isNew = exit.prepared(Self.exit())
        #expect(isNew)
        #expect(exit.heard(1, at: Self.start) == .sealUnder(generation: 1))
        #expect(exit.nextDeadline == Self.start + .seconds(10))
    }

    @Test("a second message, a skipped generation, and a message of the wrong side are violations")
    func violations() throws {
        var exit = Self.schedule(.exit)
        #expect(throws: SessionViolation.self) { try exit.receive(Self.client(2), at: Self.start) }
        #expect(throws: SessionViolation.self) { try exit.receive(Self.exit(), at: Self.start) }
        _ = try exit.receive(Self.client(), at: Self.start)
        #expect(throws: SessionViolation.self) { try exit.receive(Self.client(), at: Self.start) }
        var client = Self.schedule(.client)
        #expect(throws: SessionViolation.self) { try client.receive(Self.exit(), at: Self.start) }
        _ = client.advance(at: Self.start + .seconds(100))
        _ = client.prepared(Self.client())
        #expect(throws: SessionViolation.self) { try client.receive(Self.client(), at: Self.start) }
    }

    @Test("an update soon after the last one is a violation")
    func tooSoon() throws {
        var exit = Self.schedule(.exit)
        _ = try exit.receive(Self.client(), at: Self.start)
        _ = exit.prepared(Self.exit())
        _ = exit.heard(1, at: Self.start)
        #expect(throws: SessionViolation.self) { try exit.receive(Self.client(2), at: Self.start + .seconds(4)) }
        let signals = try exit.receive(Self.client(2), at: Self.start + .seconds(6))
        #expect(signals.first == .eraseKey(generation: 0))
    }

    @Test("a message arrives in fragments in any order")
    func fragments() throws {
        var sender = CryptoStream()
        let frames = sender.frames(of: Self.client()) + sender.frames(of: Self.exit())
        #expect(frames.count == 6)
        var receiver = CryptoStream()
        var received: [KeyUpdate] = []
        for frame in frames.reversed() + frames {
            guard case .crypto(let offset, let data) = frame else { continue }
            #expect(frame.maximumLength < SessionConfiguration.minimumPacket)
            received += try receiver.receive(data, at: offset)
        }
        #expect(received == [Self.client(), Self.exit()])
    }

    @Test("key messages that are too long, malformed, or ahead by more than the buffer are violations")
    func malformedMessages() throws {
        for bytes: [UInt8] in [[0x03, 0x00], [0x01, 0x48, 0x01], [0x01, 0x02, 0x01, 0x01]] {
            var receiver = CryptoStream()
            #expect(throws: SessionViolation.self) { try receiver.receive(ByteBuffer(bytes: bytes), at: 0) }
        }
        var receiver = CryptoStream()
        #expect(throws: SessionViolation.self) {
            try receiver.receive(ByteBuffer(bytes: [1]), at: UInt64(CryptoStream.maximumBuffer))
        }
    }
}
