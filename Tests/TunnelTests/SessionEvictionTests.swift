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

    private static func candidate(
        age: Int64,
        owner: PublicKey? = nil,
        isDeserted: Bool = false,
        idleFor idle: Int64? = nil,
        heldBytes: Int = 0
    ) -> SessionEviction.Candidate {
        SessionEviction.Candidate(
            startedAt: Self.now - .seconds(age),
            owner: owner,
            isDeserted: isDeserted,
            idleSince: idle.map { Self.now - .seconds($0) },
            heldBytes: heldBytes
        )
    }

    private static func replaced(_ candidates: [SessionEviction.Candidate], for owner: PublicKey? = nil) -> Int? {
        SessionEviction.sessionToReplace(among: candidates, for: owner, idleAge: .seconds(60), at: Self.now)?.index
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
            for: nil,
            idleAge: .seconds(60),
            at: Self.now
        )
        #expect(replaced?.reason == .peerLost)
    }

    @Test("an identity with many busy sessions makes room for one with fewer, its newest session first")
    func shares() {
        let (many, few, new) = (
            SecretKey.generate().publicKey, SecretKey.generate().publicKey, SecretKey.generate().publicKey
        )
        let candidates = [
            Self.candidate(age: 300, owner: many), Self.candidate(age: 100, owner: many),
            Self.candidate(age: 200, owner: few),
        ]
        #expect(Self.replaced(candidates, for: new) == 1)
        // Afterwards both would have one, and nobody gains by exchanging places.
        #expect(Self.replaced(candidates, for: few) == nil)
        #expect(Self.replaced(candidates, for: many) == nil)
        #expect(Self.replaced(candidates, for: nil) == nil)
    }

    @Test("the session that has been idle for longest makes room, but only after the configured time")
    func idle() {
        #expect(Self.replaced([Self.candidate(age: 9, idleFor: 70), Self.candidate(age: 500, idleFor: 60)]) == 0)
        #expect(Self.replaced([Self.candidate(age: 500, idleFor: 59)]) == nil)
        #expect(Self.replaced([Self.candidate(age: 500)]) == nil)
        #expect(Self.replaced([]) == nil)
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
