//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import Logging
package import NIOCore
import NIOSSL
package import Nostr
package import NostrCrypto

/// A client of one relay. It subscribes to messages, publishes events and queries stored events.
///
/// It stays connected until ``stop()``: after a connection ends, it reconnects and restores its subscriptions. It
/// answers AUTH challenges (NIP-42).
///
/// All methods must be called on its event loop.
package final class RelayConnection {
    package let url: RelayURL
    package let lane: RelayLane
    private let configuration: RelayClientConfiguration
    private let logger: Logger
    private let metrics = RelayClientMetrics()
    /// Signs the answers to AUTH challenges.
    private let authenticationKey: SecretKey
    private weak var delegate: (any RelayConnectionDelegate)?

    private let socket: ReconnectingSocket
    private var malformedMessages = 0
    /// When the last connection ended, in seconds since 1970.
    private var lastDisconnect: Int64?
    private var lastRejectionWarning: NIODeadline?
    /// Time after which a warning about a rejected event may be repeated.
    private static let rejectionInterval: TimeAmount = .minutes(1)
    private var authentication = RelayAuthentication()
    private let publications: PendingPublications
    private var eventRate: EventRate
    /// This node's own limit on what it sends to the relay; nil for none.
    package let budget: EventBudget?
    private let queries: RelayQueries
    private let subscriptions: RecipientSubscriptions

    /// The relay's information document (NIP-11). It has default values if it was not received.
    package var information: RelayInformation { self.socket.information }
    /// Where the relay's host answers STUN binding requests, as its information document says. Empty behind a proxy.
    package var stunServers: [SocketAddress] { self.socket.stunServers }
    /// Why the last connection ended or could not be established. Nil while the connection is open.
    package var lastError: String? { self.socket.lastError }
    /// Bytes of the messages sent and received since this object was created, across reconnects.
    package var carriedBytes: Int64 { self.socket.carriedBytes }

    /// - Parameters:
    ///   - informationCache: A cache of information documents. If nil, each connection requests the document from the
    ///     relay.
    ///   - authenticationKey: The key that signs the answers to AUTH challenges. Use a random key, unless the relay
    ///     admits only certain keys.
    ///   - budget: A limit of this node on what it sends to the relay; nil for none.
    init(
        _ target: RelaySocket.Target,
        lane: RelayLane,
        configuration: RelayClientConfiguration,
        authenticationKey: SecretKey,
        informationCache: RelayInformationCache?,
        budget: SharedBudget? = nil,
        loop: any EventLoop,
        logger: Logger,
        delegate: any RelayConnectionDelegate
    ) {
        var logger = logger
        logger[metadataKey: "relay.url"] = "\(target.url)"
        self.url = target.url
        self.lane = lane
        self.configuration = configuration
        self.authenticationKey = authenticationKey
        self.logger = logger
        self.delegate = delegate
        self.socket = ReconnectingSocket(
            target,
            configuration: configuration,
            informationCache: informationCache,
            loop: loop,
            logger: logger
        )
        self.publications = PendingPublications(
            limit: configuration.maximumPendingPublishes,
            timeout: configuration.publishTimeout,
            loop: loop,
            metrics: self.metrics
        )
        self.budget = budget?.budget
        self.eventRate = EventRate(budget: budget)
        self.queries = RelayQueries(loop: loop)
        self.subscriptions = RecipientSubscriptions(
            configuration: configuration,
            loop: loop,
            logger: logger
        )
        self.socket.delegate = self
        self.subscriptions.delegate = self
    }

    /// The rate of events in events per second, if the relay limits it; nil otherwise.
    package var limitedRate: Double? { self.eventRate.limitedRate }

    // MARK: Connecting

    /// Whether messages can be sent.
    package var isOpen: Bool { self.socket.isOpen }

    /// Whether the send buffer has room.
    package var isWritable: Bool { self.socket.isWritable }

    /// Whether there is no connection, because the last one ended or could not be established.
    package var isUnreachable: Bool { !self.isOpen && self.lastError != nil }

    /// Seconds by which the relay's clock is ahead of this machine's. Nil if the relay did not report its time.
    package var clockOffset: Int64? { self.clock.map { $0.now - UnixTime.now } }

    /// The relay's clock. Nil if the relay did not report its time.
    package var clock: RelayClock? { self.socket.clock }

    /// Checks soon whether the connection still exists, or tries to connect now: the network may have changed.
    func verify() { self.socket.verify() }

    /// Connects, and reconnects until ``stop()``.
    func start() { self.socket.start() }

    /// Disconnects and does not reconnect.
    func stop() {
        self.socket.stop()
        self.failPending()
    }

    /// Calls `body` once: with true when messages can be sent, or with false when `timeout` expires.
    package func whenOpen(within timeout: TimeAmount, _ body: @escaping (Bool) -> Void) {
        self.socket.whenOpen(within: timeout, body)
    }

    /// Fails all publications and queries, and resets authentication and subscriptions.
    private func failPending() {
        self.authentication.connectionClosed()
        self.subscriptions.connectionClosed()
        self.publications.failAll()
        self.queries.failAll()
    }

    // MARK: Subscribing

    /// Subscribes to messages for `key`, now and after each reconnect. If the key is already subscribed to, its
    /// subscriber is replaced.
    ///
    /// - Parameters:
    ///   - subscriber: Gets the messages. Not retained. Nil to keep the subscription ready for a later subscriber.
    ///   - catchesUp: Whether to request messages that were missed while disconnected. Not needed for a protocol that
    ///     retransmits lost messages.
    /// - Returns: Whether the subscription is active. If not, the subscriber is notified when it is.
    package func subscribe(_ key: PublicKey, to subscriber: (any RelaySubscriber)?, catchesUp: Bool) -> Bool {
        self.subscriptions.add(key, subscriber, catchesUp: catchesUp) && self.isOpen
    }

    package func unsubscribe(_ key: PublicKey) { self.subscriptions.remove(key) }

    /// Whether messages for `key` are delivered.
    package func isSubscribed(to key: PublicKey) -> Bool { self.isOpen && self.subscriptions.isReady(key) }

    /// Whether a REQ for `key` was sent. A relay that processes messages in order knows the key before it processes
    /// anything that is sent later.
    package func hasRequested(_ key: PublicKey) -> Bool { self.isOpen && self.subscriptions.isRequested(key) }

    /// Whether the relay accepted the newest subscription.
    package var subscriptionIsAccepted: Bool { self.isOpen && self.subscriptions.isAccepted }

    // MARK: Querying

    /// Queries stored events once.
    ///
    /// - Parameter completion: Called once with at most 100 events, which are not verified, and whether they are
    ///   complete. They are complete if the relay answered with EOSE in time, and with no more than 100 events.
    package func query(
        _ filter: Filter,
        timeout: TimeAmount,
        completion: @escaping (_ events: [ReceivedEvent], _ isComplete: Bool) -> Void
    ) {
        guard self.isOpen,
            let id = self.queries.add(
                timeout: timeout,
                onTimeout: { self.send(ClientMessage.close($0).encoded()) },
                completion: completion
            )
        else {
            completion([], false)
            return
        }
        self.send(ClientMessage.request(id, [filter]).encoded())
    }

    // MARK: Publishing

    /// Publishes an event. `completion` is called once with the result.
    ///
    /// - Parameters:
    ///   - id: The event's ID.
    ///   - message: The encoded EVENT message of the event.
    ///   - base64: The place of base64 characters in the message that are compressed if the relay takes that, because the network and
    ///     not the processor is the bottleneck. Nil to send the message as it is.
    package func publish(
        _ id: EventID,
        _ message: consuming ByteBuffer,
        compressing base64: Range<Int>? = nil,
        completion: @escaping (PublishResult) -> Void
    ) {
        guard self.isOpen else { return completion(.unreachable) }
        if let limit = self.information.limitation.maximumMessageLength, message.readableBytes > limit {
            return completion(.rejected(ReasonText(.invalid, "longer than the relay's limit of \(limit) bytes")))
        }
        if let wait = self.eventRate.wait(at: .now()) {
            self.metrics.held.increment()
            return completion(.held(wait))
        }
        guard self.publications.add(id, completion: completion) else {
            return completion(.rejected(ReasonText(.rateLimited, "too many unanswered events")))
        }
        self.metrics.published.increment()
        self.eventRate.sent(at: .now())
        self.socket.send(message, compressing: base64, expectsAnswer: self.publications.isAnswered)
    }

    private func receiveOK(_ id: EventID, _ isAccepted: Bool, _ reason: ReasonText) {
        switch self.authentication.receiveOK(id, isAccepted: isAccepted) {
        case .unrelated: break
        case .authenticated:
            self.subscriptions.authenticated()
            return
        case .rejected:
            self.logger.warning("relay rejected our authentication", metadata: ["reason": "\(reason)"])
            return
        }
        guard let sentAt = self.publications.sendTime(of: id) else { return }
        var reason = reason
        if !isAccepted, reason.prefix == .authRequired, !self.authenticate() {
            // Authentication cannot help: there is no challenge, or the relay has already accepted or rejected the key.
            reason = ReasonText(.restricted, reason.text)
        }
        if self.eventRate.receiveOK(isAccepted, reason, sentAt: sentAt, at: .now()) {
            self.delegate?.relay(self, didChange: .rateLimited)
        }
        let result = self.publications.receiveOK(id, isAccepted, reason)
        if self.publications.isWaiting { self.socket.expectAnswer() }
        if case .rejected = result { self.logRejection(reason) }
    }

    /// Logs why the relay rejected an event. A reason that a pause cannot mend is a warning, at most once in
    /// ``rejectionInterval``.
    private func logRejection(_ reason: ReasonText) {
        let isExpected = [.mute, .rateLimited, .duplicate, .authRequired].contains(reason.prefix)
        let isRepeated = self.lastRejectionWarning.map { $0 + Self.rejectionInterval > .now() } ?? false
        if !isExpected, !isRepeated { self.lastRejectionWarning = .now() }
        self.logger.log(
            level: isExpected || isRepeated ? .debug : .warning,
            "relay rejected an event",
            metadata: ["reason": "\(reason)"]
        )
    }

    /// Whether the relay asked for fewer attempts to connect, and the time for the next one has not come.
    var isBusy: Bool { self.socket.isLimited }

    // MARK: Authenticating

    /// Whether the relay requires authentication, according to its information document or to the reason for which it
    /// closed a subscription.
    package var requiresAuthentication: Bool {
        self.information.limitation.authenticationRequired == true || self.subscriptions.requiresAuthentication
    }

    // MARK: Receiving

    private func receive(_ message: RelayMessage) {
        switch message {
        case .event(let id, let received):
            self.metrics.received.increment()
            if self.queries.receive(received, for: id) { return }
            self.subscriptions.receiveAnswer(id)
            self.deliver(received.event)
        case .ok(let id, let isAccepted, let reason):
            self.receiveOK(id, isAccepted, reason)
        case .endOfStoredEvents(let id):
            if self.queries.finish(id, isComplete: true) {
                self.send(ClientMessage.close(id).encoded())
            } else {
                self.subscriptions.receiveAnswer(id)
            }
        case .closed(let id, let reason):
            if !self.queries.finish(id, isComplete: false) { self.subscriptions.receiveClosed(id, reason) }
        case .notice(let text):
            self.metrics.notices.increment()
            self.logger.debug("relay sent a notice", metadata: ["text": "\(text)"])
            self.subscriptions.receiveNotice(ReasonText(text))
        case .challenge(let challenge):
            if self.authentication.receive(challenge: challenge), self.requiresAuthentication {
                _ = self.authenticate()
            }
        }
    }

    /// Passes a tunnel message to the subscriber of its recipient.
    private func deliver(_ event: Event) {
        guard event.kind == .tunnelMessage, let key = event.recipient,
            // No subscriber: the key was just unsubscribed, or is subscribed to for later use.
            let subscriber = self.subscriptions.subscriber(of: key)
        else { return self.metrics.misdirected.increment() }
        subscriber.relay(self, didReceive: event, for: key)
    }
}

extension RelayConnection: ReconnectingSocketDelegate {
    func socketDidOpen() {
        self.malformedMessages = 0
        self.metrics.connects.increment()
        self.logger.debug("relay connected")
        let since = self.lastDisconnect.map {
            max($0 - 5, UnixTime.now - self.configuration.catchUp.nanoseconds / 1_000_000_000)
        }
        self.subscriptions.connectionOpened(since: since, limits: self.information.limitation)
        self.delegate?.relay(self, didChange: .connected)
        // The challenge may have arrived before the information document.
        if self.requiresAuthentication { _ = self.authenticate() }
        self.subscriptions.advance()
    }

    func socketDidReceive(_ message: ByteBuffer) {
        do {
            self.receive(try RelayMessage.parse(message))
        } catch {
            // Relays may send types that this client does not know.
            if case .unknownType = error { return }
            self.metrics.malformed.increment()
            self.malformedMessages += 1
            self.logger.debug("relay sent a malformed message", metadata: ["error": "\(error)"])
            if self.malformedMessages > self.configuration.maximumMalformedMessages {
                self.socket.closeForPolicyViolation()
            }
        }
    }

    func socketDidChangeWritability(_ isWritable: Bool) {
        for subscriber in self.subscriptions.subscribers { subscriber.relay(self, didChangeWritability: isWritable) }
    }

    func socketNeedsMessage() {
        // No event has this id, so every relay that follows NIP-01 answers with EOSE alone.
        self.query(Filter(ids: [EventID(.zero)], limit: 1), timeout: self.configuration.publishTimeout) { _, _ in }
    }

    func socketDidClose(_ reason: String, wasOpen: Bool, isFirstReport: Bool) {
        if wasOpen {
            self.metrics.disconnects.increment()
            self.lastDisconnect = UnixTime.now
            // Report the lost path before the lost events, so that subscribers send them again on other paths.
            for subscriber in self.subscriptions.subscribers { subscriber.relayDidDisconnect(self) }
        }
        if isFirstReport { self.delegate?.relay(self, didChange: .disconnected(reason: reason)) }
        self.failPending()
    }
}

extension RelayConnection: RecipientSubscriptionsDelegate {
    func send(_ message: ByteBuffer) { self.socket.send(message) }

    /// Answers the AUTH challenge, unless an answer was sent. Returns false if the connection is not open, if there is
    /// no challenge, or if the relay has already accepted or rejected the key.
    func authenticate() -> Bool {
        guard self.isOpen else { return false }
        switch self.authentication.answer(to: self.url, by: self.authenticationKey, at: UnixTime.now) {
        case .wait: return true
        case .unavailable: return false
        case .send(let message):
            self.send(message)
            return true
        }
    }

    func reconnect() { self.socket.reconnect() }

    func didRequest(_ key: PublicKey, for subscriber: (any RelaySubscriber)?) {
        subscriber?.relay(self, didRequest: key)
    }

    func didReject(_ key: PublicKey, for subscriber: (any RelaySubscriber)?) {
        subscriber?.relay(self, didReject: key)
    }

    func didSubscribe(_ key: PublicKey, for subscriber: (any RelaySubscriber)?) {
        subscriber?.relay(self, didSubscribe: key)
    }

    func subscriptionWasAccepted() {
        self.delegate?.relay(self, didChange: .subscribed)
    }
}
