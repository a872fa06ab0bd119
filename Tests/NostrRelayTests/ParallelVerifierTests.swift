//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Nostr
import NostrCrypto
import TestSupport
import Testing

@testable import NostrRelay

@Suite("Event verification shared by event loops")
struct VerificationTeamTests {
    /// Returns `count` events, some of them forged, and the expected error for each (nil if the event is valid).
    private static func events(
        _ count: Int,
        _ random: inout SeededGenerator
    ) throws -> ([ReceivedEvent], [Event.VerificationError?]) {
        let key = SecretKey.generate()
        var events: [ReceivedEvent] = []
        var wanted: [Event.VerificationError?] = []
        for number in 0..<count {
            let event = try Event.signed(
                by: key,
                createdAt: 1_700_000_000,
                kind: .tunnelMessage,
                tags: [],
                content: ByteBuffer(string: "\(number)")
            )
            let faults: [Event.VerificationError?] = [nil, nil, nil, .idMismatch, .invalidSignature]
            let fault = faults[Int.random(in: 0..<faults.count, using: &random)]
            let forged =
                switch fault {
                case nil: event
                case .idMismatch: Self.copy(of: event, content: ByteBuffer(string: "other"))
                case .invalidSignature:
                    Self.copy(of: event, signature: SchnorrSignature(r: event.pubkey.bytes, s: event.pubkey.bytes))
                }
            events.append(ReceivedEvent(event: forged, json: ByteBuffer()))
            wanted.append(fault)
        }
        return (events, wanted)
    }

    private static func copy(
        of event: Event,
        content: ByteBuffer? = nil,
        signature: SchnorrSignature? = nil
    ) -> Event {
        Event(
            id: event.id,
            pubkey: event.pubkey,
            createdAt: event.createdAt,
            kind: event.kind,
            tags: event.tags,
            content: content ?? event.content,
            signature: signature ?? event.signature
        )
    }

    @Test("each loop gets the results for its own events, in order", arguments: [1, 2, 4])
    func verdicts(threads: Int) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: threads)
        let team = ParallelVerifier(group)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for (seed, loop) in group.makeIterator().enumerated() {
                tasks.addTask {
                    var random = SeededGenerator(seed: UInt64(seed))
                    for count in [0, 1, 7, 8, 9, 16, 16, 16, 40] {
                        let (events, wanted) = try Self.events(count, &random)
                        let verdicts = try await loop.submit { team.verify(events, on: loop) }.get()
                        #expect(verdicts == wanted, "seed \(seed), \(count) events")
                    }
                }
            }
            try await tasks.waitForAll()
        }
        try await group.shutdownGracefully()
    }

    @Test("verification does not wait for a busy loop", .timeLimit(.minutes(5)))
    func busy() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let team = ParallelVerifier(group)
        var random = SeededGenerator(seed: 9)
        let (events, wanted) = try Self.events(ParallelVerifier.maximumBatchSize, &random)
        let loops = Array(group.makeIterator())
        let release = ConditionLock(value: false)
        let blocked = loops[1].submit {
            release.lock(whenValue: true)
            release.unlock()
        }
        let verdicts = try await loops[0].submit { team.verify(events, on: loops[0]) }.get()
        #expect(verdicts == wanted)
        release.lock()
        release.unlock(withValue: true)
        try await blocked.get()
        try await group.shutdownGracefully()
    }
}
