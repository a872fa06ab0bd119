//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
public import NIOCore
public import Nostr
public import NostrCrypto

/// What a relay said that bears on the subscription.
enum SubscriptionSignal {
    case event(SubscriptionID)
    case endOfStoredEvents(SubscriptionID)
    case closed(SubscriptionID, ReasonText)
    case notice(ReasonText)
}

extension RelayConnection {
    /// Hears messages for `key` from now on.
    ///
    /// - Parameters:
    ///   - catchesUp: Whether messages that were missed while the connection was down are asked for. Who sends again what
    ///     was lost does not want them twice.
    ///   - onReady: Called as soon as the subscription is in force, so that answers will be heard, and again
    ///   after each reconnect.
    public func addRecipient(_ key: PublicKey, catchesUp: Bool = true, onReady: @escaping () -> Void) {
        self.subscription.add(key, catchesUp: catchesUp)
        self.recipients[key] = onReady
        if self.hears(key) {
            self.announced.insert(key)
            onReady()
        } else {
            self.advanceSubscription()
        }
    }

    /// Stops hearing messages for `key`.
    public func removeRecipient(_ key: PublicKey) {
        self.subscription.remove(key)
        self.recipients[key] = nil
        self.announced.remove(key)
        self.advanceSubscription()
    }

    /// Whether messages for `key` are heard.
    public func hears(_ key: PublicKey) -> Bool {
        self.isOpen && self.subscription.isReady(key)
    }

    /// Whether the relay was asked for messages for `key`: one that keeps the order of a connection's messages knows it
    /// before whatever is sent from now on.
    public func hasAsked(for key: PublicKey) -> Bool {
        self.isOpen && self.subscription.hasAsked(for: key)
    }

    /// Whether the relay took the subscription: EOSE, an event, or a second without a no.
    public var subscriptionIsAccepted: Bool {
        self.isOpen && self.subscription.acceptance == .accepted
    }

    /// Asks for what is not asked for yet, as often as ``RelayClientConfiguration/requestsPerSecond`` allows.
    func advanceSubscription() {
        guard self.requestTurn == nil else { return }
        guard !self.subscription.mustAsk || self.requestBucket.take(at: .now()) else {
            let bound = NIOLoopBound(self, eventLoop: self.loop)
            self.requestTurn = self.loop.scheduleTask(in: Self.requestPause) {
                bound.value.requestTurn = nil
                bound.value.advanceSubscription()
            }
            return
        }
        self.perform(self.subscription.advance())
    }

    /// How long keys are gathered when there are too many changes for a REQ of each.
    private static let requestPause: TimeAmount = .milliseconds(25)

    private func heard(_ id: SubscriptionID, _ acceptance: RelaySubscription.Acceptance) {
        // The time-outs of a REQ that was refused say nothing of the next one.
        if case .refused = acceptance, self.subscription.isUnderWay(id) { self.cancelSubscriptionTimers() }
        let actions = self.subscription.heard(id, acceptance)
        if self.subscriptionRefusals > 0, self.subscription.acceptance == .accepted { self.subscriptionRefusals = 0 }
        // Each event of a subscription comes by here.
        guard !actions.isEmpty else { return }
        self.perform(actions)
        self.advanceSubscription()
    }

    func subscriptionEvent(_ signal: SubscriptionSignal) {
        switch signal {
        case .event(let id), .endOfStoredEvents(let id):
            self.heard(id, .accepted)
            self.onSubscriptionSettled?()
        case .closed(let id, let reason):
            self.heard(id, .refused(reason))
        case .notice(let reason):
            // strfry answers a REQ beyond its limit with a NOTICE and nothing else.
            guard let id = self.subscription.awaited, reason.text.contains("REQ") else { return }
            self.heard(id, .refused(reason))
        }
    }

    private func perform(_ actions: [RelaySubscription.Action]) {
        for action in actions {
            switch action {
            case .request(let id, let filters):
                self.send(ClientMessage.request(id, filters).encoded())
                self.armSubscriptionTimers(id)
            case .close(let id):
                self.send(ClientMessage.close(id).encoded())
            case .ready(let keys):
                for key in keys where self.recipients[key] != nil && self.announced.insert(key).inserted {
                    self.recipients[key]?()
                }
            case .authenticate:
                if !self.authenticate() { self.retrySubscriptionLater() }
            case .retryLater:
                self.retrySubscriptionLater()
            case .reconnect:
                self.reconnect()
            }
        }
    }

    private func retrySubscriptionLater() {
        self.logger.warning("relay refuses our subscription, asking again later")
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let pause = TimeAmount.seconds(1 << Int64(min(5, self.subscriptionRefusals)))
        self.subscriptionRefusals += 1
        let timer = self.loop.scheduleTask(in: min(Backoff.most, pause)) {
            bound.value.subscription.mayAskAgain()
            bound.value.advanceSubscription()
        }
        self.subscriptionTimers.append(timer)
    }

    private func armSubscriptionTimers(_ id: SubscriptionID) {
        self.cancelSubscriptionTimers()
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        for (delay, acceptance) in [
            (self.configuration.subscriptionPatience, RelaySubscription.Acceptance.assumed),
            (self.configuration.subscriptionAcceptance, .accepted),
        ] {
            self.subscriptionTimers.append(
                self.loop.scheduleTask(in: delay) {
                    bound.value.heard(id, acceptance)
                    if acceptance == .accepted { bound.value.onSubscriptionSettled?() }
                }
            )
        }
    }

    func cancelSubscriptionTimers() {
        for timer in self.subscriptionTimers { timer.cancel() }
        self.subscriptionTimers = []
    }

    // MARK: Queries

    /// Asks for stored events once. `completion` gets what came, verified by nobody, and whether that is all: EOSE came, and
    /// not CLOSED, the end of the connection, or the time-out.
    public func query(
        _ filter: Filter,
        timeout: TimeAmount,
        completion: @escaping (_ events: [ReceivedEvent], _ isComplete: Bool) -> Void
    ) {
        self.nextQueryNumber += 1
        guard self.isOpen, let id = SubscriptionID(ByteString("query\(self.nextQueryNumber)")) else {
            completion([], false)
            return
        }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let timer = self.loop.scheduleTask(in: timeout) {
            guard let query = bound.value.queries.removeValue(forKey: id) else { return }
            bound.value.send(ClientMessage.close(id).encoded())
            query.finish(isComplete: false)
        }
        self.queries[id] = RelayQuery(timer: timer, completion: completion)
        self.send(ClientMessage.request(id, [filter]).encoded())
    }
}

/// A question for stored events that is not answered yet.
final class RelayQuery {
    /// Most events that are kept of an answer.
    static let maximumEvents = 100

    private let timer: Scheduled<Void>
    private let completion: ([ReceivedEvent], Bool) -> Void
    private var events: [ReceivedEvent] = []

    init(timer: Scheduled<Void>, completion: @escaping ([ReceivedEvent], Bool) -> Void) {
        self.timer = timer
        self.completion = completion
    }

    func add(_ event: ReceivedEvent) {
        if self.events.count < Self.maximumEvents { self.events.append(event) }
    }

    func finish(isComplete: Bool) {
        self.timer.cancel()
        self.completion(self.events, isComplete)
    }
}
