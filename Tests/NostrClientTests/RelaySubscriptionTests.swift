//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto
import Testing

@testable import NostrClient

@Suite("The subscription of a connection")
struct RelaySubscriptionTests {
    let alice = SecretKey.generate().publicKey
    let bob = SecretKey.generate().publicKey

    /// The id and filters of a lone REQ.
    static func request(_ actions: [RelaySubscription.Action]) -> (SubscriptionID, [Filter])? {
        guard actions.count == 1, case .request(let id, let filters) = actions[0] else { return nil }
        return (id, filters)
    }

    @Test("the new REQ is in force before the old one is closed")
    func overlap() throws {
        var subscription = RelaySubscription(recipientsPerFilter: 10)
        subscription.add(self.alice)
        #expect(subscription.advance().isEmpty)
        subscription.connectionOpened(since: nil)
        let (first, filters) = try #require(Self.request(subscription.advance()))
        #expect(filters == [Filter(kinds: [.tunnelMessage], recipients: [self.alice], limit: 0)])
        #expect(!subscription.isReady(self.alice))
        #expect(subscription.heard(first, .accepted) == [.ready([self.alice])])
        #expect(subscription.isReady(self.alice))

        subscription.add(self.bob)
        let (second, _) = try #require(Self.request(subscription.advance()))
        #expect(second != first)
        #expect(subscription.isReady(self.alice))
        #expect(!subscription.isReady(self.bob))
        #expect(subscription.heard(second, .accepted) == [.ready([self.alice, self.bob]), .close(first)])
        #expect(subscription.advance().isEmpty)
    }

    @Test("changes while a REQ is under way go out together afterwards")
    func coalescing() throws {
        var subscription = RelaySubscription(recipientsPerFilter: 10)
        subscription.add(self.alice)
        subscription.connectionOpened(since: nil)
        let (first, _) = try #require(Self.request(subscription.advance()))
        let others = (0..<5).map { _ in SecretKey.generate().publicKey }
        for key in others {
            subscription.add(key)
            #expect(subscription.advance().isEmpty)
        }
        let actions = subscription.heard(first, .assumed)
        #expect(actions.first == .ready([self.alice]))
        guard case .request(_, let filters)? = actions.last else {
            Issue.record("no second REQ")
            return
        }
        #expect(filters.first?.tags[UInt8(ascii: "p")]?.count == 6)
    }

    @Test("after a reconnect it asks for what was missed, beside what is live")
    func catchUp() throws {
        var subscription = RelaySubscription(recipientsPerFilter: 10)
        subscription.add(self.alice)
        subscription.connectionOpened(since: nil)
        let (first, _) = try #require(Self.request(subscription.advance()))
        _ = subscription.heard(first, .accepted)
        subscription.connectionClosed()
        #expect(!subscription.isReady(self.alice))
        subscription.connectionOpened(since: 1_000)
        let (_, filters) = try #require(Self.request(subscription.advance()))
        #expect(filters.map(\.since) == [nil, 1_000])
        #expect(filters.map(\.limit) == [0, nil])
    }

    @Test("a refusal is retried after a pause, or after authenticating")
    func refusals() throws {
        var subscription = RelaySubscription(recipientsPerFilter: 10)
        subscription.add(self.alice)
        subscription.connectionOpened(since: nil)
        let (first, _) = try #require(Self.request(subscription.advance()))
        #expect(subscription.heard(first, .refused(ReasonText("rate-limited: x"))) == [.retryLater])
        #expect(subscription.advance().isEmpty)
        subscription.pauseOver()
        let (second, _) = try #require(Self.request(subscription.advance()))
        let reason = ReasonText("ERROR: auth-required: who are you?")
        #expect(subscription.heard(second, .refused(reason)) == [.authenticate])
        subscription.authenticated()
        let third = subscription.advance()
        #expect(Self.request(third) != nil)
    }

    @Test("many keys are spread over several filters")
    func chunks() throws {
        var subscription = RelaySubscription(recipientsPerFilter: 2)
        for _ in 0..<5 { subscription.add(SecretKey.generate().publicKey) }
        subscription.connectionOpened(since: nil)
        let (_, filters) = try #require(Self.request(subscription.advance()))
        #expect(filters.map { $0.tags[UInt8(ascii: "p")]?.count } == [2, 2, 1])
    }

    @Test("nothing is asked for nobody")
    func empty() throws {
        var subscription = RelaySubscription(recipientsPerFilter: 2)
        subscription.connectionOpened(since: nil)
        #expect(subscription.advance().isEmpty)
        subscription.add(self.alice)
        let (first, _) = try #require(Self.request(subscription.advance()))
        _ = subscription.heard(first, .accepted)
        subscription.remove(self.alice)
        #expect(subscription.advance() == [.close(first)])
    }
}

@Suite("Small parts of the relay client")
struct RelayClientPartsTests {
    @Test("waits grow to 3 s, after two minutes to 30 s, and holding a connection starts over")
    func backoff() {
        var generator = SystemRandomNumberGenerator()
        var backoff = Backoff()
        var waits = (0..<80).map { _ in backoff.next(using: &generator) }
        #expect(waits[0] <= .milliseconds(250))
        #expect(waits[1] <= .milliseconds(500))
        #expect(waits.allSatisfy { $0 <= .seconds(30) && $0 >= .milliseconds(125) })
        #expect(waits.prefix(Backoff.patience).allSatisfy { $0 <= .seconds(3) })
        #expect(waits[79] >= .seconds(15))
        backoff.connectionHeld(for: .seconds(4))
        #expect(backoff.next(using: &generator) >= .seconds(15))
        backoff.connectionHeld(for: .seconds(5))
        waits = [backoff.next(using: &generator)]
        #expect(waits[0] <= .milliseconds(250))
    }

    @Test("ids are remembered within bounds")
    func deduplicator() {
        var deduplicator = EventDeduplicator(capacity: 10)
        let ids = (0..<40).map { _ in EventID(.random()) }
        for id in ids {
            let first = deduplicator.insert(id)
            let second = deduplicator.insert(id)
            #expect(first)
            #expect(!second)
        }
        #expect(!deduplicator.contains(ids[0]))
        #expect(ids.suffix(10).allSatisfy { deduplicator.contains($0) })
    }

    @Test(
        "relays that others name are dialled only where that is harmless",
        arguments: [
            ("8.8.8.8", true, true), ("127.0.0.1", false, true), ("10.1.2.3", false, true), ("::1", false, true),
            ("169.254.169.254", false, false), ("100.100.100.200", false, false), ("224.0.0.1", false, false),
            ("0.0.0.0", false, false),
            ("::ffff:127.0.0.1", false, true), ("fe80::1", false, false),
        ]
    )
    func dialPolicy(address: String, byOthers: Bool, byOthersLocal: Bool) throws {
        let address = try SocketAddress(ipAddress: address, port: 1)
        #expect(DialPolicy.configured.allows(address))
        #expect(DialPolicy.namedByOthers.allows(address) == byOthers)
        #expect(DialPolicy.namedByOthersAllowingLocal.allows(address) == byOthersLocal)
    }
}
