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

@Suite("Choice of an exit")
struct ExitDirectoryTests {
    private static let now: Int64 = 1_800_000_000
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    private static func announcement(_ number: UInt8, createdAt: Int64 = Self.now) throws -> ExitAnnouncement {
        let key = try SecretKey(Bytes32.sha256(of: [number]))
        let event = try ExitAnnouncement.event(
            by: key,
            relays: [RelayURL("ws://relay-\(number).example")],
            createdAt: createdAt
        )
        return try #require(ExitAnnouncement(event, foundOn: nil, now: Self.now))
    }

    private func announced(_ count: UInt8) throws -> (ExitDirectory, [PublicKey]) {
        var directory = ExitDirectory(named: [])
        let exits = try (1...count).map { try Self.announcement($0) }
        for exit in exits { directory.insert(exit, now: Self.now) }
        return (directory, exits.map(\.publicKey))
    }

    @Test("the announced exit with the lowest cost is chosen", arguments: 0..<4)
    func nearest(fastest: Int) throws {
        let (directory, keys) = try self.announced(4)
        let choice = directory.choose(excluding: [], at: Self.start, seconds: Self.now) {
            $0 == keys[fastest] ? 10 : 20
        }
        #expect(choice?.publicKey == keys[fastest])
    }

    @Test("a failed exit is avoided until its cooldown ends")
    func failure() throws {
        var (directory, keys) = try self.announced(2)
        let cost: (PublicKey) -> Double = { $0 == keys[0] ? 1 : 500 }
        directory.noteFailure(of: keys[0], at: Self.start)
        #expect(
            directory.choose(excluding: [], at: Self.start + .seconds(59), seconds: Self.now, cost: cost)?.publicKey
                == keys[1]
        )
        #expect(
            directory.choose(excluding: [], at: Self.start + .seconds(61), seconds: Self.now, cost: cost)?.publicKey
                == keys[0]
        )
        // One that failed is better than none.
        directory.noteFailure(of: keys[0], at: Self.start)
        #expect(
            directory.choose(excluding: [keys[1]], at: Self.start, seconds: Self.now, cost: cost)?.publicKey == keys[0]
        )
        #expect(directory.choose(excluding: Set(keys), at: Self.start, seconds: Self.now, cost: cost) == nil)
    }

    @Test("if the user named exits, only those are used")
    func named() throws {
        var (directory, keys) = try self.announced(2)
        let own = try SecretKey(Bytes32.sha256(of: [9])).publicKey
        directory.named = [NostrName(publicKey: own, relays: [])]
        #expect(
            directory.choose(excluding: [], at: Self.start, seconds: Self.now) { $0 == own ? 1_000 : 1 }?.publicKey
                == own
        )
        #expect(directory.choose(excluding: [own], at: Self.start, seconds: Self.now) { _ in 1 } == nil)
        #expect(directory.takeUnmeasured(3, at: Self.start).isEmpty)
        #expect(keys.allSatisfy { directory.roundTrip(of: $0) == nil })
    }

    @Test("each exit is measured once until its measurement expires")
    func measuring() throws {
        var (directory, keys) = try self.announced(5)
        let first = directory.takeUnmeasured(3, at: Self.start)
        let second = directory.takeUnmeasured(3, at: Self.start)
        #expect(first.count == 3 && second.count == 2)
        #expect(Set((first + second).map(\.publicKey)) == Set(keys))
        #expect(directory.takeUnmeasured(3, at: Self.start + .minutes(9)).isEmpty)
        directory.noteRoundTrip(of: keys[0], milliseconds: 12, at: Self.start + .minutes(9))
        #expect(directory.roundTrip(of: keys[0]) == 12)
        #expect(directory.takeUnmeasured(9, at: Self.start + .minutes(11)).count == 4)
    }

    @Test("expired and older announcements are ignored")
    func announcements() throws {
        var directory = ExitDirectory(named: [])
        let old = try Self.announcement(1, createdAt: Self.now - 300)
        let new = try Self.announcement(1)
        directory.insert(new, now: Self.now)
        directory.insert(old, now: Self.now)
        // As long as the newer one holds, and no longer.
        for (seconds, key) in [(Self.now + 599, new.publicKey), (Self.now + 600, nil)] {
            #expect(directory.choose(excluding: [], at: Self.start, seconds: seconds) { _ in 1 }?.publicKey == key)
        }
    }
}
