//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import Testing
import TunnelProtocol

@testable import Tunnel

@Suite("Which sessions of an exit end when a limit is exceeded")
struct SessionEvictionTests {
    private static let now = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    private static let relay = SessionEviction.Share.relay(PathID(rawValue: 0))

    private static func candidate(
        age: Int64,
        share: SessionEviction.Share = Self.relay,
        isUsed: Bool = true,
        isDeserted: Bool = false,
        idleFor idle: Int64? = nil,
        heldBytes: Int = 0
    ) -> SessionEviction.Candidate {
        SessionEviction.Candidate(
            startedAt: Self.now - .seconds(age),
            share: share,
            isUsed: isUsed,
            isDeserted: isDeserted,
            idleSince: idle.map { Self.now - .seconds($0) },
            heldBytes: heldBytes
        )
    }

    private static func replaced(
        _ candidates: [SessionEviction.Candidate],
        for share: SessionEviction.Share = Self.relay
    ) -> Int? {
        SessionEviction.sessionToReplace(among: candidates, for: share, idleAge: .seconds(60), at: Self.now)?.index
    }

    @Test("the oldest session whose client is gone makes room before an idle one")
    func deserted() {
        let candidates = [
            Self.candidate(age: 500, idleFor: 400), Self.candidate(age: 100, isDeserted: true),
            Self.candidate(age: 200, isDeserted: true),
        ]
        #expect(Self.replaced(candidates) == 2)
        let replaced = SessionEviction.sessionToReplace(
            among: candidates,
            for: Self.relay,
            idleAge: .seconds(60),
            at: Self.now
        )
        #expect(replaced?.reason == .peerLost)
    }

    @Test("an identity with many busy sessions makes room for one with fewer, its newest session first")
    func shares() {
        let keys = (0..<3).map { _ in SecretKey.generate().publicKey }
        let (many, few) = (SessionEviction.Share.identity(keys[0]), SessionEviction.Share.identity(keys[1]))
        let new = SessionEviction.Share.identity(keys[2])
        let candidates = [
            Self.candidate(age: 300, share: many), Self.candidate(age: 100, share: many),
            Self.candidate(age: 200, share: few),
        ]
        #expect(Self.replaced(candidates, for: new) == 1)
        // Afterwards both would have one, and nobody gains by exchanging places.
        #expect(Self.replaced(candidates, for: few) == nil)
        #expect(Self.replaced(candidates, for: many) == nil)
        // A relay through which fewer sessions came gets its share, too.
        let relays = (0..<3).map { _ in Self.candidate(age: 10) }
        #expect(Self.replaced(relays, for: .relay(PathID(rawValue: 1))) != nil)
        #expect(Self.replaced(relays, for: Self.relay) == nil)
    }

    @Test("the session that has been idle for longest makes room, but only after the configured time")
    func idle() {
        #expect(Self.replaced([Self.candidate(age: 9, idleFor: 70), Self.candidate(age: 500, idleFor: 60)]) == 0)
        #expect(Self.replaced([Self.candidate(age: 500, idleFor: 59)]) == nil)
        #expect(Self.replaced([Self.candidate(age: 500)]) == nil)
        #expect(Self.replaced([]) == nil)
    }

    @Test("sessions without a stream end after the grace time, and beyond the limit those of the largest share")
    func unused() {
        let other = SessionEviction.Share.relay(PathID(rawValue: 1))
        let candidates = [
            Self.candidate(age: 5, isUsed: false), Self.candidate(age: 4, share: other, isUsed: false),
            Self.candidate(age: 3, isUsed: false), Self.candidate(age: 2, isUsed: false), Self.candidate(age: 100),
            Self.candidate(age: 20, isUsed: false),
        ]
        func ended(_ limit: Int) -> [Int] {
            SessionEviction.unusedSessionsToEnd(among: candidates, limit: limit, grace: .seconds(20), at: Self.now)
        }
        #expect(ended(10) == [5])
        #expect(ended(3) == [5, 0])
        #expect(ended(2) == [5, 0, 2])
    }

    @Test("the oldest offer of the largest share makes room")
    func offers() {
        let other = SessionEviction.Share.relay(PathID(rawValue: 1))
        #expect(SessionEviction.offerToForget(among: [other, Self.relay, Self.relay]) == 1)
        #expect(SessionEviction.offerToForget(among: []) == nil)
    }

    @Test("the sessions that hold the most memory end until the rest is within the limit")
    func memory() {
        let candidates = [30, 50, 10, 40].map { Self.candidate(age: 1, heldBytes: $0) }
        #expect(SessionEviction.sessionsOverLimit(among: candidates, limit: 130).isEmpty)
        #expect(SessionEviction.sessionsOverLimit(among: candidates, limit: 129) == [1])
        #expect(SessionEviction.sessionsOverLimit(among: candidates, limit: 40) == [1, 3])
        #expect(SessionEviction.sessionsOverLimit(among: candidates, limit: 0) == [1, 3, 0, 2])
    }
}
