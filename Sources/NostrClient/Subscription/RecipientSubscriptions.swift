//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore
import Nostr
import NostrCrypto

/// Sends the messages of ``RecipientSubscriptions``, and receives the results.
protocol RecipientSubscriptionsDelegate: AnyObject {
    func send(_ message: ByteBuffer)
    /// Answers the relay's challenge. False if there is none, or the relay has rejected this key.
    func authenticate() -> Bool
    /// The relay closed an active subscription, so events may be lost. Reconnect to request them.
    func reconnect()
    /// Messages for the key are delivered from now on.
    func didSubscribe(_ key: PublicKey, for subscriber: (any RelaySubscriber)?)
    /// The relay accepted a subscription: it sent EOSE or an event, or no rejection for long enough.
    func subscriptionWasAccepted()
}

/// Drives a ``RelaySubscription``: its timers, the rate of its requests, and who subscribed to which key. Lives on the
/// connection's event loop.
final class RecipientSubscriptions {
    private struct Recipient {
        weak var subscriber: (any RelaySubscriber)?
        /// Whether the subscriber was told on the present connection.
        var isTold = false
    }

    /// How long changes are gathered when requests exceed their rate.
    private static let gathering: TimeAmount = .milliseconds(25)

    private let configuration: RelayClientConfiguration
    private let loop: any EventLoop
    private let logger: Logger
    weak var delegate: (any RecipientSubscriptionsDelegate)?

    private var subscription: RelaySubscription
    private var recipients: [PublicKey: Recipient] = [:]
    private var requests: TokenBucket
    private var timers: [Scheduled<Void>] = []
    /// A REQ waits for the rate of requests.
    private var delayedRequest: Scheduled<Void>?
    private var rejectionsInARow = 0

    init(
        configuration: RelayClientConfiguration,
        loop: any EventLoop,
        logger: Logger
    ) {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        self.subscription = RelaySubscription(recipientsPerFilter: configuration.recipientsPerFilter)
        self.requests = TokenBucket(perSecond: configuration.requestsPerSecond, now: .now())
    }

    // MARK: Recipients

    /// Adds a key, or changes the subscriber of a known key. Returns whether its subscription is active.
    func add(_ key: PublicKey, _ subscriber: (any RelaySubscriber)?, catchesUp: Bool) -> Bool {
        self.subscription.add(key, catchesUp: catchesUp)
        let isReady = self.subscription.isReady(key)
        self.recipients[key] = Recipient(subscriber: subscriber, isTold: isReady)
        if !isReady { self.advance() }
        return isReady
    }

    func remove(_ key: PublicKey) {
        self.subscription.remove(key)
        self.recipients[key] = nil
        self.advance()
    }

    /// Whether any subscriber has added the key.
    func contains(_ key: PublicKey) -> Bool { self.recipients[key] != nil }

    func subscriber(of key: PublicKey) -> (any RelaySubscriber)? { self.recipients[key]?.subscriber }

    /// Each subscriber once.
    var subscribers: [any RelaySubscriber] {
        var seen: Set<ObjectIdentifier> = []
        return self.recipients.values.compactMap(\.subscriber).filter { seen.insert(ObjectIdentifier($0)).inserted }
    }

    func isReady(_ key: PublicKey) -> Bool { self.subscription.isReady(key) }

    /// Whether a REQ for the key was sent. A relay that processes messages in order knows the key before it processes
    /// anything that is sent later.
    func isRequested(_ key: PublicKey) -> Bool { self.subscription.isRequested(key) }

    var isAccepted: Bool { self.subscription.acceptance == .accepted }

    /// Whether the relay closed the newest subscription because it requires authentication.
    var requiresAuthentication: Bool {
        guard case .rejected(let reason) = self.subscription.acceptance else { return false }
        return reason.prefix == .authRequired
    }

    // MARK: Connection

    /// - Parameters:
    ///   - since: Seconds since 1970 from which events were missed; nil on the first connection.
    ///   - maximumSubscriptions: How many subscriptions the relay says it takes.
    func connectionOpened(since: Int64?, maximumSubscriptions: Int?) {
        self.subscription.connectionOpened(since: since, subscriptions: maximumSubscriptions)
        self.rejectionsInARow = 0
    }

    func connectionClosed() {
        self.subscription.connectionClosed()
        self.cancelTimers()
        self.delayedRequest?.cancel()
        self.delayedRequest = nil
        for key in self.recipients.keys { self.recipients[key]?.isTold = false }
    }

    /// The relay accepted the authentication. Requests the rejected keys again.
    func authenticated() {
        self.subscription.mayAskAgain()
        self.advance()
    }

    /// Sends the next REQ if there is one and the rate of requests allows it.
    func advance() {
        guard self.delayedRequest == nil else { return }
        guard !self.subscription.mustAsk || self.requests.take(at: .now()) else {
            let bound = NIOLoopBound(self, eventLoop: self.loop)
            self.delayedRequest = self.loop.scheduleTask(in: Self.gathering) {
                bound.value.delayedRequest = nil
                bound.value.advance()
            }
            return
        }
        self.perform(self.subscription.advance())
    }

    // MARK: Messages of the relay

    /// An event came for a subscription, or EOSE.
    func receiveAnswer(_ id: SubscriptionID) {
        self.settle(id, .accepted)
        self.delegate?.subscriptionWasAccepted()
    }

    func receiveClosed(_ id: SubscriptionID, _ reason: ReasonText) {
        self.logger.debug("relay closed a subscription", metadata: ["reason": "\(reason)"])
        self.settle(id, .rejected(reason))
    }

    /// strfry answers a REQ beyond its limit with a NOTICE and nothing else.
    func receiveNotice(_ reason: ReasonText) {
        guard let id = self.subscription.awaited, reason.text.contains("REQ") else { return }
        self.settle(id, .rejected(reason))
    }

    private func settle(_ id: SubscriptionID, _ acceptance: RelaySubscription.Acceptance) {
        // The timers of a rejected REQ say nothing about the next one.
        if case .rejected = acceptance, self.subscription.isPending(id) { self.cancelTimers() }
        let actions = self.subscription.settle(id, acceptance)
        if self.rejectionsInARow > 0, self.isAccepted { self.rejectionsInARow = 0 }
        // Every event of a subscription passes here.
        guard !actions.isEmpty else { return }
        self.perform(actions)
        self.advance()
    }

    private func perform(_ actions: [RelaySubscription.Action]) {
        for action in actions {
            switch action {
            case .request(let id, let filters):
                self.delegate?.send(ClientMessage.request(id, filters).encoded())
                self.armTimers(id)
            case .close(let id):
                self.delegate?.send(ClientMessage.close(id).encoded())
            case .ready(let keys):
                for key in keys where self.recipients[key]?.isTold == false {
                    self.recipients[key]?.isTold = true
                    self.delegate?.didSubscribe(key, for: self.recipients[key]?.subscriber)
                }
            case .authenticate:
                if self.delegate?.authenticate() != true { self.retryLater() }
            case .retryLater:
                self.retryLater()
            case .reconnect:
                self.delegate?.reconnect()
            }
        }
    }

    // MARK: Timers

    private func retryLater() {
        self.logger.warning("relay rejects our subscription, retrying later")
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let pause = TimeAmount.seconds(1 << Int64(min(5, self.rejectionsInARow)))
        self.rejectionsInARow += 1
        self.timers.append(
            self.loop.scheduleTask(in: min(Backoff.most, pause)) {
                bound.value.subscription.mayAskAgain()
                bound.value.advance()
            }
        )
    }

    /// Some relays never send EOSE: silence counts as an answer after a while.
    private func armTimers(_ id: SubscriptionID) {
        self.cancelTimers()
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.timers = [
            self.loop.scheduleTask(in: self.configuration.subscriptionPatience) { bound.value.settle(id, .assumed) },
            self.loop.scheduleTask(in: self.configuration.subscriptionAcceptance) { bound.value.receiveAnswer(id) },
        ]
    }

    private func cancelTimers() {
        for timer in self.timers { timer.cancel() }
        self.timers = []
    }
}
