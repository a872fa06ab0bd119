//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto
import TestSupport
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

    @Test("the old REQ is closed only when the new one is active")
    func overlap() throws {
        var subscription = RelaySubscription(recipientsPerFilter: 10)
        subscription.add(self.alice)
        #expect(subscription.advance().isEmpty)
        subscription.connectionOpened(since: nil)
        let (first, filters) = try #require(Self.request(subscription.advance()))
        #expect(filters == [Filter(kinds: [.tunnelMessage], recipients: [self.alice], limit: 0)])
        #expect(!subscription.isReady(self.alice))
        #expect(subscription.settle(first, .accepted) == [.ready([self.alice])])
        #expect(subscription.isReady(self.alice))

        subscription.add(self.bob)
        let (second, _) = try #require(Self.request(subscription.advance()))
        #expect(second != first)
        #expect(subscription.isReady(self.alice))
        #expect(!subscription.isReady(self.bob))
        #expect(subscription.settle(second, .accepted) == [.ready([self.alice, self.bob]), .close(first)])
        #expect(subscription.advance().isEmpty)
    }

    @Test("changes during a pending REQ are sent together after it")
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
        #expect(subscription.settle(first, .assumed) == [.ready([self.alice])])
        let (second, filters) = try #require(Self.request(subscription.advance()))
        #expect(filters.first?.tags[UInt8(ascii: "p")]?.count == 6)
        #expect(subscription.settle(second, .accepted).last == .close(first))
    }

    @Test("after a reconnect, the REQ requests missed events and new ones")
    func catchUp() throws {
        var subscription = RelaySubscription(recipientsPerFilter: 10)
        subscription.add(self.alice)
        subscription.connectionOpened(since: nil)
        let (first, _) = try #require(Self.request(subscription.advance()))
        _ = subscription.settle(first, .accepted)
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
        #expect(subscription.settle(first, .rejected(ReasonText("rate-limited: x"))) == [.retryLater])
        #expect(subscription.advance().isEmpty)
        subscription.allowRetry()
        let (second, _) = try #require(Self.request(subscription.advance()))
        let reason = ReasonText("ERROR: auth-required: who are you?")
        #expect(subscription.settle(second, .rejected(reason)) == [.authenticate])
        subscription.allowRetry()
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

    @Test("no REQ is sent without keys, and the last removed key closes the subscription")
    func empty() throws {
        var subscription = RelaySubscription(recipientsPerFilter: 2)
        subscription.connectionOpened(since: nil)
        #expect(subscription.advance().isEmpty)
        subscription.add(self.alice)
        let (first, _) = try #require(Self.request(subscription.advance()))
        _ = subscription.settle(first, .accepted)
        subscription.remove(self.alice)
        #expect(subscription.advance() == [.close(first)])
    }

    /// A relay that takes REQs as they come, and what it was sent.
    struct Relay {
        var subscription = RelaySubscription(recipientsPerFilter: 200)
        var open: [SubscriptionID: Set<String>] = [:]
        var most = 0
        var sentKeys = 0
        var requests = 0
        var longest = 0
        var mostFilters = 0
        var unanswered: SubscriptionID?

        mutating func perform(_ actions: [RelaySubscription.Action]) {
            for action in actions {
                switch action {
                case .request(let id, let filters):
                    let keys = filters.flatMap { $0.tags[UInt8(ascii: "p")] ?? [] }.map { "\($0)" }
                    self.open[id] = Set(keys)
                    self.sentKeys += keys.count
                    self.requests += 1
                    self.longest = max(self.longest, ClientMessage.request(id, filters).encoded().readableBytes)
                    self.mostFilters = max(self.mostFilters, filters.count)
                    self.unanswered = id
                case .close(let id): self.open[id] = nil
                case .ready, .retryLater, .authenticate, .reconnect: break
                }
            }
            self.most = max(self.most, self.open.count)
        }

        mutating func answer() {
            guard let id = self.unanswered else { return }
            self.unanswered = nil
            self.perform(self.subscription.settle(id, .accepted))
        }

        mutating func refuse(_ reason: String) {
            guard let id = self.unanswered else { return }
            self.unanswered = nil
            self.open[id] = nil
            self.perform(self.subscription.settle(id, .rejected(ReasonText(reason))))
        }

        mutating func settle(adding key: PublicKey? = nil) {
            if let key { self.subscription.add(key) }
            repeat {
                self.answer()
                self.perform(self.subscription.advance())
            } while self.unanswered != nil
        }
    }

    @Test("adding a thousand keys one by one repeats few keys and uses few subscriptions")
    func growth() {
        var relay = Relay()
        relay.subscription.connectionOpened(since: nil)
        let keys = (0..<1_000).map { _ in SecretKey.generate().publicKey }
        for key in keys {
            relay.settle(adding: key)
        }
        #expect(keys.allSatisfy { relay.subscription.isReady($0) })
        #expect(Set(relay.open.values.joined()) == Set(keys.map(\.hex)))
        #expect(relay.open.count <= RelaySubscription.preferredParts)
        #expect(relay.most <= RelaySubscription.preferredParts + 1)
        // All of them each time would be half a million.
        #expect(relay.sentKeys < 30_000, "\(relay.sentKeys)")
    }

    @Test(
        "while keys are added and removed, all wanted keys and few others are subscribed to",
        arguments: 0..<20 as Range<UInt64>
    )
    func churn(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var relay = Relay()
        let keys = (0..<60).map { _ in SecretKey.generate().publicKey }
        var wanted: Set<PublicKey> = []
        relay.subscription.connectionOpened(since: nil)
        for _ in 0..<400 {
            guard let key = keys.randomElement(using: &random) else { return }
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<35:
                relay.subscription.add(key)
                wanted.insert(key)
            case 35..<65:
                relay.subscription.remove(key)
                wanted.remove(key)
            case 65..<90: relay.answer()
            case 90..<95: relay.refuse("rate-limited: slow down")
            case 95..<98: relay.subscription.allowRetry()
            default:
                relay.open = [:]
                relay.unanswered = nil
                relay.subscription.connectionClosed()
                relay.subscription.connectionOpened(since: nil)
            }
            relay.perform(relay.subscription.advance())
            // Each key that is reported as ready is in an open subscription of the relay.
            let heard = Set(relay.open.values.joined())
            #expect(keys.allSatisfy { !relay.subscription.isReady($0) || heard.contains($0.hex) }, "seed \(seed)")
            #expect(relay.open.count <= RelaySubscription.preferredParts + 1, "seed \(seed)")
        }
        relay.subscription.allowRetry()
        relay.settle()
        #expect(wanted.allSatisfy { relay.subscription.isReady($0) }, "seed \(seed)")
        let heard = relay.open.values.reduce(0) { $0 + $1.count }
        #expect(wanted.isEmpty ? heard == 0 : heard <= 2 * wanted.count + 8, "seed \(seed)")
        #expect(relay.open.count <= RelaySubscription.preferredParts, "seed \(seed)")
    }

    @Test(
        "the number of subscriptions stays within the limit that the relay declares",
        arguments: [(nil, 5), (10, 5), (4, 3), (2, 2), (1, 1)]
    )
    func fewer(stated: Int?, most: Int) {
        var relay = Relay()
        var limits = RelayInformation.Limitation()
        limits.maximumSubscriptions = stated
        relay.subscription.connectionOpened(since: nil, limits: limits)
        for _ in 0..<200 {
            relay.settle(adding: SecretKey.generate().publicKey)
        }
        #expect(relay.most == most)
    }

    @Test(
        "a REQ is no longer than the relay declares, and all keys are subscribed to",
        arguments: [(16_384, nil), (4_096, 100), (nil, 2), (nil, nil)] as [(Int?, Int?)]
    )
    func longRequests(length: Int?, filters: Int?) throws {
        var relay = Relay()
        var limits = RelayInformation.Limitation()
        limits.maximumMessageLength = length
        limits.maximumFilters = filters
        limits.maximumSubscriptions = 20
        let keys = (0..<256).map { _ in SecretKey.generate().publicKey }
        for key in keys { relay.subscription.add(key) }
        relay.subscription.connectionOpened(since: 1_000, limits: limits)
        relay.settle()
        #expect(relay.longest <= length ?? 64 << 10)
        #expect(relay.mostFilters <= filters ?? 10)
        #expect(keys.allSatisfy { relay.subscription.isReady($0) })
        #expect(relay.most <= 18)
    }

    @Test("a relay that takes too few subscriptions gets as many keys as fit, and others when keys are removed")
    func surplus() throws {
        var relay = Relay()
        var limits = RelayInformation.Limitation()
        limits.maximumMessageLength = 4_096
        limits.maximumSubscriptions = 4
        let keys = (0..<100).map { _ in SecretKey.generate().publicKey }
        for key in keys { relay.subscription.add(key) }
        relay.subscription.connectionOpened(since: nil, limits: limits)
        relay.settle()
        let ready = keys.filter { relay.subscription.isReady($0) }
        #expect(relay.subscription.surplus == 100 - ready.count)
        #expect(ready.count >= 20 && ready.count < 100)
        for key in ready.prefix(10) { relay.subscription.remove(key) }
        relay.perform(relay.subscription.advance())
        relay.settle()
        #expect(keys.count { relay.subscription.isReady($0) && relay.subscription.wanted.contains($0) } == ready.count)
    }

    @Test("a relay that takes one subscription gets the same name again, and after a reconnect the oldest keys first")
    func oneSubscription() throws {
        var limitation = RelayInformation.Limitation()
        limitation.maximumSubscriptions = 1
        limitation.maximumFilters = 2
        var subscription = RelaySubscription(recipientsPerFilter: 3)
        subscription.connectionOpened(since: nil, limits: limitation)
        let keys = (0..<5).map { _ in SecretKey.generate().publicKey }
        var name: SubscriptionID?
        for key in keys.prefix(3) {
            subscription.add(key)
            let (id, _) = try #require(Self.request(subscription.advance()))
            #expect(name == nil || id == name)
            name = id
            // Nothing is closed.
            let actions = subscription.settle(id, .accepted)
            #expect(actions.count == 1)
        }
        for key in keys { subscription.add(key) }
        #expect(subscription.advance().isEmpty)
        #expect(subscription.surplus == 2)
        subscription.connectionClosed()
        subscription.connectionOpened(since: nil, limits: limitation)
        let (id, _) = try #require(Self.request(subscription.advance()))
        #expect(subscription.pendingRecipients == Set(keys.prefix(3)))
        // A rejection closes the subscription of that name, so all keys are missing.
        _ = subscription.settle(id, .accepted)
        subscription.remove(keys[0])
        let (again, _) = try #require(Self.request(subscription.advance()))
        #expect(again == id)
        let rejection = subscription.settle(again, .rejected(ReasonText(.rateLimited, "slow down")))
        #expect(rejection == [.retryLater])
        #expect(!subscription.isReady(keys[1]))
        subscription.allowRetry()
        #expect(Self.request(subscription.advance()) != nil)
        #expect(subscription.pendingRecipients == Set(keys[1...3]))
    }

    @Test("a rejected REQ loses no key of that REQ, of later changes or of active subscriptions")
    func refusalKeepsKeys() throws {
        var relay = Relay()
        relay.subscription.connectionOpened(since: nil)
        let old = (0..<3).map { _ in SecretKey.generate().publicKey }
        for key in old {
            relay.settle(adding: key)
        }
        relay.subscription.add(self.alice)
        relay.perform(relay.subscription.advance())
        relay.subscription.add(self.bob)
        relay.refuse("rate-limited: slow down")
        #expect(old.allSatisfy { relay.subscription.isReady($0) })
        relay.subscription.allowRetry()
        relay.settle()
        #expect((old + [self.alice, self.bob]).allSatisfy { relay.subscription.isReady($0) })
    }

    @Test("a rejection after the subscription was assumed to be accepted still counts")
    func lateRefusal() throws {
        var subscription = RelaySubscription(recipientsPerFilter: 10)
        subscription.connectionOpened(since: nil)
        subscription.add(self.alice)
        let (first, _) = try #require(Self.request(subscription.advance()))
        #expect(subscription.settle(first, .assumed) == [.ready([self.alice])])
        #expect(subscription.awaited == first)
        #expect(subscription.settle(first, .rejected(ReasonText("auth-required: who are you?"))) == [.authenticate])
        #expect(!subscription.isReady(self.alice))
        subscription.allowRetry()
        let (second, _) = try #require(Self.request(subscription.advance()))
        _ = subscription.settle(second, .accepted)
        // If the relay closes an accepted subscription, a reconnect is needed.
        #expect(subscription.settle(second, .rejected(ReasonText("error: no more"))) == [.reconnect])
    }

    @Test("a key counts as requested as soon as its REQ is sent")
    func asking() throws {
        var subscription = RelaySubscription(recipientsPerFilter: 10)
        subscription.connectionOpened(since: nil)
        subscription.add(self.alice)
        let (first, _) = try #require(Self.request(subscription.advance()))
        subscription.add(self.bob)
        #expect(subscription.isRequested(self.alice))
        #expect(!subscription.isRequested(self.bob))
        _ = subscription.settle(first, .accepted)
        _ = subscription.advance()
        #expect(subscription.isRequested(self.bob))
        #expect(!subscription.isReady(self.bob))
    }
}
