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
    private static let key = PublicKey(unchecked: Bytes32.sha256(of: [1]))
    private static let other = PublicKey(unchecked: Bytes32.sha256(of: [2]))

    private static var configuration: SessionConfiguration {
        var configuration = SessionConfiguration()
        configuration.keyLifetime = .seconds(100)
        configuration.keyBytes = 1_000
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
        #expect(client.prepared(1, Self.key) == .keyUpdate(generation: 1, Self.key))
        #expect(client.prepared(1, Self.key) == nil)
        let signals = try client.receive(1, Self.other, at: due)
        #expect(signals == [.pair(generation: 1, Self.other), .sealUnder(generation: 1)])
        // The old keys are erased only after the exit has used the new ones.
        #expect(client.advance(at: due + .seconds(50)) == [])
        #expect(client.heard(1, at: due + .seconds(50)) == nil)
        #expect(client.nextDeadline == due + .seconds(60))
        #expect(client.advance(at: due + .seconds(60)) == [.eraseKey(generation: 0)])
    }

    @Test("a client starts an update after a number of bytes in both directions")
    func byBytes() {
        var client = Self.schedule(.client)
        client.sealed(500)
        client.opened(499)
        #expect(client.advance(at: Self.start) == [])
        client.opened(1)
        #expect(client.advance(at: Self.start) == [.makeKey(generation: 1)])
    }

    @Test("an exit never starts an update, and seals under the new keys when the client does")
    func exit() throws {
        var exit = Self.schedule(.exit)
        exit.sealed(10_000)
        #expect(exit.nextDeadline == nil)
        let signals = try exit.receive(1, Self.key, at: Self.start)
        #expect(signals == [.makeKey(generation: 1), .pair(generation: 1, Self.key)])
        #expect(exit.heard(1, at: Self.start) == nil)
        #expect(exit.prepared(1, Self.other) == .keyUpdate(generation: 1, Self.other))
        #expect(exit.heard(1, at: Self.start) == .sealUnder(generation: 1))
        #expect(exit.nextDeadline == Self.start + .seconds(10))
    }

    @Test("a repeated key is ignored, and a different key or a skipped generation is a violation")
    func violations() throws {
        var exit = Self.schedule(.exit)
        _ = try exit.receive(1, Self.key, at: Self.start)
        #expect(try exit.receive(1, Self.key, at: Self.start) == [])
        #expect(try exit.receive(0, Self.key, at: Self.start) == [])
        #expect(throws: SessionViolation.self) { try exit.receive(1, Self.other, at: Self.start) }
        #expect(throws: SessionViolation.self) { try exit.receive(3, Self.key, at: Self.start) }
        var client = Self.schedule(.client)
        #expect(throws: SessionViolation.self) { try client.receive(1, Self.key, at: Self.start) }
    }

    @Test("an update soon after the last one is a violation")
    func tooSoon() throws {
        var exit = Self.schedule(.exit)
        _ = try exit.receive(1, Self.key, at: Self.start)
        _ = exit.prepared(1, Self.other)
        _ = exit.heard(1, at: Self.start)
        #expect(throws: SessionViolation.self) { try exit.receive(2, Self.key, at: Self.start + .seconds(4)) }
        let signals = try exit.receive(2, Self.key, at: Self.start + .seconds(6))
        #expect(signals.first == .eraseKey(generation: 0))
    }
}
