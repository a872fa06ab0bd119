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
    /// Answers the relay's AUTH challenge. Returns false if there is none, or if the relay has already accepted or
    /// rejected the key.
    func authenticate() -> Bool
    /// The relay closed an active subscription, so events may be lost. Reconnect to request them.
    func reconnect()
    /// A REQ for the key was sent.
    func didRequest(_ key: PublicKey, for subscriber: (any RelaySubscriber)?)
    /// The relay rejected the REQ for the key.
    func didReject(_ key: PublicKey, for subscriber: (any RelaySubscriber)?)
    /// Messages for the key are delivered from now on.
    func didSubscribe(_ key: PublicKey, for subscriber: (any RelaySubscriber)?)
    /// The relay accepted a subscription: it sent EOSE or an event, or no rejection for long enough.
    func subscriptionWasAccepted()
}

/// The subscriptions of a connection, with the subscriber of each key. It sends the messages of a
/// ``RelaySubscription``, runs its timers, and limits the rate of its requests.
///
/// All methods must be called on the event loop of the connection.
final class RecipientSubscriptions {
    private struct Recipient {
        weak var subscriber: (any RelaySubscriber)?
        /// Whether the subscription is active on the current connection, and this was reported to the subscriber.
        var isNotified = false
    }

    /// Delay of a REQ that exceeds the rate limit. Changes in this time are sent together.
    private static let gathering: TimeAmount = .milliseconds(25)

    private let configuration: RelayClientConfiguration
    private let loop: any EventLoop
    private let logger: Logger
    weak var delegate: (any RecipientSubscriptionsDelegate)?

    private var subscription: RelaySubscription
    private var recipients: [PublicKey: Recipient] = [:]
    private var requests: TokenBucket
    private var timers: [Scheduled<Void>] = []
    /// Timer that sends a REQ delayed by the rate limit.
    private var delayedRequest: Scheduled<Void>?
    private var rejectionsInARow = 0
    private var isSurplusReported = false

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
        self.recipients[key] = Recipient(subscriber: subscriber, isNotified: isReady)
        if !isReady { self.advance() }
        return isReady
    }

    func remove(_ key: PublicKey) {
        self.subscription.remove(key)
        self.recipients[key] = nil
        self.advance()
    }

    /// Whether the key was added and not removed since.
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
    ///   - since: The time from which events were missed, in seconds since 1970; nil on the first connection.
    ///   - limits: The limits that the relay declares (NIP-11).
    func connectionOpened(since: Int64?, limits: RelayInformation.Limitation) {
        self.subscription.connectionOpened(since: since, limits: limits)
        self.isSurplusReported = false
        self.rejectionsInARow = 0
    }

    func connectionClosed() {
        self.subscription.connectionClosed()
        self.cancelTimers()
        self.delayedRequest?.cancel()
        self.delayedRequest = nil
        for key in self.recipients.keys { self.recipients[key]?.isNotified = false }
    }

    /// The relay accepted the authentication. Requests the rejected keys again.
    func authenticated() {
        self.subscription.allowRetry()
        self.advance()
    }

    /// Sends the next REQ if there is one and the rate of requests allows it.
    func advance() {
        guard self.delayedRequest == nil else { return }
        guard !self.subscription.hasRequestToSend || self.requests.take(at: .now()) else {
            let bound = NIOLoopBound(self, eventLoop: self.loop)
            self.delayedRequest = self.loop.scheduleTask(in: Self.gathering) {
                bound.value.delayedRequest = nil
                bound.value.advance()
            }
            return
        }
        self.perform(self.subscription.advance())
        self.reportSurplus()
    }

    /// Warns once for each connection if the relay's limits do not allow all keys.
    private func reportSurplus() {
        let surplus = self.subscription.surplus
        guard surplus > 0, !self.isSurplusReported else { return }
        self.isSurplusReported = true
        self.logger.warning(
            "relay takes no more subscriptions on one connection, so some sessions do not use it",
            metadata: ["keys": "\(surplus)"]
        )
    }

    // MARK: Messages of the relay

    /// Records that the relay accepted a subscription: it sent an event or EOSE, or did not reject it in time.
    func receiveAnswer(_ id: SubscriptionID) {
        self.settle(id, .accepted)
        self.delegate?.subscriptionWasAccepted()
    }

    func receiveClosed(_ id: SubscriptionID, _ reason: ReasonText) {
        self.logger.debug("relay closed a subscription", metadata: ["reason": "\(reason)"])
        self.settle(id, .rejected(reason))
    }

    /// Handles a NOTICE. The relay strfry rejects a REQ beyond its limit with a NOTICE, without CLOSED.
    func receiveNotice(_ reason: ReasonText) {
        guard let id = self.subscription.awaited, reason.text.contains("REQ") else { return }
        self.settle(id, .rejected(reason))
    }

    private func settle(_ id: SubscriptionID, _ acceptance: RelaySubscription.Acceptance) {
        // Otherwise the timers would report the rejected subscription as accepted.
        var rejected: Set<PublicKey> = []
        if case .rejected = acceptance, self.subscription.isPending(id) {
            self.cancelTimers()
            rejected = self.subscription.pendingRecipients
        }
        let actions = self.subscription.settle(id, acceptance)
        for key in rejected where !self.subscription.isRequested(key) {
            self.delegate?.didReject(key, for: self.recipients[key]?.subscriber)
        }
        if self.rejectionsInARow > 0, self.isAccepted { self.rejectionsInARow = 0 }
        // This method is called for every event, so it should return early.
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
                for key in self.subscription.pendingRecipients where self.recipients[key]?.isNotified == false {
                    self.delegate?.didRequest(key, for: self.recipients[key]?.subscriber)
                }
            case .close(let id):
                self.delegate?.send(ClientMessage.close(id).encoded())
            case .ready(let keys):
                for key in keys where self.recipients[key]?.isNotified == false {
                    self.recipients[key]?.isNotified = true
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
            self.loop.scheduleTask(in: min(Backoff.lateLimit, pause)) {
                bound.value.subscription.allowRetry()
                bound.value.advance()
            }
        )
    }

    /// Starts the timers for a relay that does not answer a REQ. Some relays never send EOSE, so after a while the
    /// subscription is used, and then counts as accepted.
    private func armTimers(_ id: SubscriptionID) {
        self.cancelTimers()
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.timers = [
            self.loop.scheduleTask(in: self.configuration.subscriptionTimeout) { bound.value.settle(id, .assumed) },
            self.loop.scheduleTask(in: self.configuration.subscriptionAcceptance) { bound.value.receiveAnswer(id) },
        ]
    }

    private func cancelTimers() {
        for timer in self.timers { timer.cancel() }
        self.timers = []
    }
}
