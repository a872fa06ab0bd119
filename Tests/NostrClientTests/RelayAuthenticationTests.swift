//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto
import Testing

@testable import NostrClient

@Suite("Authentication to a relay (NIP-42)")
struct RelayAuthenticationTests {
    private static func id(_ byte: UInt8) -> EventID { EventID(Bytes32.sha256(of: [byte])) }

    @Test("a challenge is answered once")
    func once() {
        var authentication = RelayAuthentication()
        #expect(authentication.nextStep == .unavailable)
        let isNew = authentication.receive(challenge: "a")
        #expect(isNew)
        let isNew2 = authentication.receive(challenge: "a")
        #expect(!isNew2)
        #expect(authentication.nextStep == .answer(challenge: "a"))
        authentication.sent(Self.id(1))
        #expect(authentication.nextStep == .wait)
        let verdict = authentication.receiveOK(Self.id(2), isAccepted: true)
        #expect(verdict == .unrelated)
        let verdict2 = authentication.receiveOK(Self.id(1), isAccepted: true)
        #expect(verdict2 == .authenticated)
        #expect(authentication.nextStep == .unavailable)
    }

    @Test("a rejected key is not tried again with the same challenge")
    func rejected() {
        var authentication = RelayAuthentication()
        _ = authentication.receive(challenge: "a")
        authentication.sent(Self.id(1))
        let verdict = authentication.receiveOK(Self.id(1), isAccepted: false)
        #expect(verdict == .rejected)
        #expect(authentication.nextStep == .unavailable)
        let isNew = authentication.receive(challenge: "b")
        #expect(isNew)
        #expect(authentication.nextStep == .answer(challenge: "b"))
    }

    @Test("a new connection begins without a challenge")
    func reconnects() {
        var authentication = RelayAuthentication()
        _ = authentication.receive(challenge: "a")
        authentication.connectionClosed()
        #expect(authentication.nextStep == .unavailable)
    }
}
