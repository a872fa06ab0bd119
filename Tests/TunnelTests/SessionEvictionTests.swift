//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing
import TunnelProtocol

@testable import Tunnel

@Suite("Which sessions of an exit end when a limit is exceeded")
struct SessionEvictionTests {
    private static let now = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    private static func candidate(
        age: Int64,
        isDeserted: Bool = false,
        idleFor idle: Int64? = nil,
        heldBytes: Int = 0
    ) -> SessionEviction.Candidate {
        SessionEviction.Candidate(
            startedAt: Self.now - .seconds(age),
            isDeserted: isDeserted,
            idleSince: idle.map { Self.now - .seconds($0) },
            heldBytes: heldBytes
        )
    }

    private static func replaced(_ candidates: [SessionEviction.Candidate]) -> Int? {
        SessionEviction.sessionToReplace(among: candidates, idleAge: .seconds(60), at: Self.now)?.index
    }

    @Test("the oldest session whose client is gone makes room before an idle one")
    func deserted() {
        let candidates = [
            Self.candidate(age: 500, idleFor: 400), Self.candidate(age: 100, isDeserted: true),
            Self.candidate(age: 200, isDeserted: true),
        ]
        #expect(Self.replaced(candidates) == 2)
        let reason = SessionEviction.sessionToReplace(among: candidates, idleAge: .seconds(60), at: Self.now)?.reason
        #expect(reason == .peerLost)
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
