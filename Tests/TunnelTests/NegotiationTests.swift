//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import Tunnel

@Suite("How an entry and an exit begin")
struct NegotiationTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private static let ready = Negotiation.Situation(
        isNeeded: true,
        hasReadyRelay: true,
        isConnecting: false,
        isAwaitingList: false,
        lacksListedRelay: false
    )

    private static func negotiation(
        _ opening: Negotiation.Opening,
        gatheringUntil deadline: NIODeadline
    ) -> Negotiation {
        Negotiation(opening, gatheringDeadline: deadline, slowerRelayTimeout: .milliseconds(300))
    }

    private static func situation(_ change: (inout Negotiation.Situation) -> Void) -> Negotiation.Situation {
        var situation = Self.ready
        change(&situation)
        return situation
    }

    @Test("an offer is made once, and its result decides what is served")
    func offer() {
        var negotiation = Self.negotiation(.offer(mayFallBack: true), gatheringUntil: Self.start)
        let step = negotiation.advance(Self.ready, at: Self.start)
        #expect(step == .offer(mayFallBack: true))
        let step2 = negotiation.advance(Self.ready, at: Self.start)
        #expect(step2 == .wait(until: nil))
        var fallen = negotiation
        fallen.fellBack(at: Self.start + .seconds(2))
        #expect(fallen.phase == .plain(since: Self.start + .seconds(2)))
        let step3 = fallen.advance(Self.ready, at: Self.start)
        #expect(step3 == .serve)
        negotiation.accepted()
        #expect(negotiation.phase == .session)
        let step4 = negotiation.advance(Self.ready, at: Self.start)
        #expect(step4 == .serve)
    }

    @Test("nothing begins without a stream, without a relay, or before the relay list arrived")
    func waits() {
        for situation in [
            Self.situation { $0.isNeeded = false }, Self.situation { $0.hasReadyRelay = false },
            Self.situation { $0.isAwaitingList = true },
        ] {
            var negotiation = Self.negotiation(.plain, gatheringUntil: Self.start)
            let step = negotiation.advance(situation, at: Self.start + .seconds(60))
            #expect(step == .wait(until: nil))
            #expect(negotiation.phase == .gathering)
        }
    }

    @Test("relays that are still connecting are waited for until the deadline")
    func gathering() {
        var negotiation = Self.negotiation(.plain, gatheringUntil: Self.start + .seconds(1))
        let connecting = Self.situation { $0.isConnecting = true }
        let step = negotiation.advance(connecting, at: Self.start)
        #expect(step == .wait(until: Self.start + .milliseconds(300)))
        let step2 = negotiation.advance(connecting, at: Self.start + .milliseconds(299))
        #expect(step2 == .wait(until: Self.start + .milliseconds(300)))
        let step3 = negotiation.advance(connecting, at: Self.start + .milliseconds(300))
        #expect(step3 == .beginPlain)
        // The first relay is late.
        var late = Self.negotiation(.offer(mayFallBack: true), gatheringUntil: Self.start + .seconds(1))
        let step4 = late.advance(connecting, at: Self.start + .milliseconds(900))
        #expect(step4 == .wait(until: Self.start + .seconds(1)))
        let step5 = late.advance(connecting, at: Self.start + .seconds(1))
        #expect(step5 == .offer(mayFallBack: true))
    }

    @Test("an exit that speaks sessions gets the offer as soon as one relay is ready")
    func firstRelay() {
        var negotiation = Self.negotiation(.offer(mayFallBack: false), gatheringUntil: Self.start + .seconds(1))
        let step = negotiation.advance(Self.situation { $0.isConnecting = true }, at: Self.start)
        #expect(step == .offer(mayFallBack: false))
    }

    @Test("a relay of the exit's list is waited for, but not for ever")
    func listedRelays() {
        var negotiation = Self.negotiation(.offer(mayFallBack: false), gatheringUntil: Self.start)
        negotiation.receivedList(waitingUntil: Self.start + .seconds(3))
        let lacking = Self.situation { $0.lacksListedRelay = true }
        let step = negotiation.advance(lacking, at: Self.start + .seconds(2))
        #expect(step == .wait(until: Self.start + .seconds(3)))
        let step2 = negotiation.advance(lacking, at: Self.start + .seconds(3))
        #expect(step2 == .offer(mayFallBack: false))
    }

    @Test("a waiting stream fails early if every relay failed, and never while an offer is pending")
    func givingUp() {
        var negotiation = Self.negotiation(.offer(mayFallBack: true), gatheringUntil: Self.start)
        #expect(negotiation.givesUp(onlyIfUnreachable: true, isUnreachable: true))
        #expect(!negotiation.givesUp(onlyIfUnreachable: true, isUnreachable: false))
        #expect(negotiation.givesUp(onlyIfUnreachable: false, isUnreachable: false))
        _ = negotiation.advance(Self.ready, at: Self.start)
        #expect(!negotiation.givesUp(onlyIfUnreachable: false, isUnreachable: true))
        negotiation.accepted()
        #expect(!negotiation.givesUp(onlyIfUnreachable: true, isUnreachable: true))
        #expect(negotiation.givesUp(onlyIfUnreachable: false, isUnreachable: true))
    }
}
