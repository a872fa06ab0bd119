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

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// Learns when a relay can be used. All methods are called on the connection's event loop.
package protocol RelayConnectionDelegate: AnyObject {
    func relay(_ relay: RelayConnection, didChange state: RelayConnection.Transition)
}

/// A connection to a relay that is kept open until ``stop()``: it reconnects, restores its subscriptions and answers
/// AUTH challenges (NIP-42).
///
/// It uses one ``RelaySocket`` at a time. All methods must be called on its event loop.
package final class RelayConnection {
    /// A change of the connection.
    package enum Transition {
        /// Messages can be sent.
        case connected
        /// The relay accepted a subscription. Reported at least once per connection that has subscriptions.
        case subscribed
        /// The connection ended, or could not be made. Failures of later attempts are not reported.
        case disconnected(reason: String)
    }

    private enum State {
        /// Not started.
        case idle
        /// Resolving, connecting or upgrading.
        case connecting(RelaySocket)
        /// Waiting for the next attempt.
        case waiting(Scheduled<Void>)
        /// Connected; messages can be sent.
        case open(RelaySocket)
        /// Stopped; it never reconnects.
        case stopped
    }

    package let url: RelayURL
    package let lane: RelayLane
    private let target: RelaySocket.Target
    private let configuration: RelayClientConfiguration
    private let loop: any EventLoop
    private let logger: Logger
    private let metrics = RelayClientMetrics()
    private let informationCache: RelayInformationCache?
    /// Signs the answers to AUTH challenges.
    private let authenticationKey: SecretKey
    private weak var delegate: (any RelayConnectionDelegate)?

    private var state = State.idle
    private var backoff = Backoff()
    private var generator = SystemRandomNumberGenerator()
    private var malformedMessages = 0
    /// When the last connection ended, in seconds since 1970.
    private var lastDisconnect: Int64?
    private var authentication = RelayAuthentication()
    private let publications: PendingPublications
    private let queries: RelayQueries
    private var subscriptions: RecipientSubscriptions!
    private var openWaiters: [UInt64: (Bool) -> Void] = [:]
    private var lastWaiter: UInt64 = 0
    private var lastClockOffset: Int64?

    /// The relay's information document (NIP-11); default values if it was not received.
    package private(set) var information = RelayInformation()
    /// Why the last attempt failed; nil while connected.
    package private(set) var lastError: String?
    /// Bytes of the messages sent and received since this object was created, across reconnects.
    package private(set) var carriedBytes: Int64 = 0

    /// - Parameters:
    ///   - informationCache: Nil if each connection has to ask the relay itself.
    ///   - authenticationKey: A throwaway key, unless the relay admits only keys that it knows.
    init(
        _ target: RelaySocket.Target,
        lane: RelayLane,
        configuration: RelayClientConfiguration,
        authenticationKey: SecretKey,
        informationCache: RelayInformationCache?,
        loop: any EventLoop,
        logger: Logger,
        delegate: any RelayConnectionDelegate
    ) {
        var logger = logger
        logger[metadataKey: "relay.url"] = "\(target.url)"
        self.url = target.url
        self.lane = lane
        self.target = target
        self.configuration = configuration
        self.authenticationKey = authenticationKey
        self.informationCache = informationCache
        self.loop = loop
        self.logger = logger
        self.delegate = delegate
        self.publications = PendingPublications(
            limit: configuration.maximumPendingPublishes,
            timeout: configuration.publishTimeout,
            loop: loop,
            metrics: self.metrics
        )
        self.queries = RelayQueries(loop: loop)
        self.subscriptions = RecipientSubscriptions(
            configuration: configuration,
            loop: loop,
            logger: logger,
            delegate: self
        )
    }

    // MARK: Connecting

    /// Whether messages can be sent.
    package var isOpen: Bool {
        if case .open = self.state { true } else { false }
    }

    /// Whether the send buffer has room.
    package var isWritable: Bool {
        if case .open(let socket) = self.state { socket.isWritable } else { false }
    }

    /// Whether the last attempt to connect failed.
    package var isUnreachable: Bool { !self.isOpen && self.lastError != nil }

    /// Seconds by which the relay's clock is ahead of this machine's; nil if the relay does not tell the time.
    package var clockOffset: Int64? {
        switch self.state {
        case .connecting(let socket), .open(let socket): socket.clockOffset ?? self.lastClockOffset
        case .idle, .waiting, .stopped: self.lastClockOffset
        }
    }

    /// Connects, and reconnects until ``stop()``.
    func start() {
        if case .idle = self.state { self.connect() }
    }

    /// Disconnects and does not reconnect.
    func stop() {
        let state = self.state
        self.state = .stopped
        switch state {
        case .connecting(let socket), .open(let socket): socket.abandon()
        case .waiting(let retry): retry.cancel()
        case .idle, .stopped: break
        }
        self.failPending()
    }

    private func connect() {
        let socket = RelaySocket(
            self.target,
            configuration: self.configuration,
            informationCache: self.informationCache,
            loop: self.loop,
            logger: self.logger,
            delegate: self
        )
        self.state = .connecting(socket)
        socket.connect()
    }

    /// Calls `body` once: with true when messages can be sent, or with false when the timeout `patience` expires.
    package func whenOpen(within patience: TimeAmount, _ body: @escaping (Bool) -> Void) {
        if self.isOpen {
            body(true)
            return
        }
        self.lastWaiter += 1
        let number = self.lastWaiter
        self.openWaiters[number] = body
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: patience) { bound.value.openWaiters.removeValue(forKey: number)?(false) }
    }

    /// Fails everything that waits for a response of the relay.
    private func failPending() {
        self.authentication.connectionClosed()
        self.subscriptions.connectionClosed()
        self.publications.failAll()
        self.queries.failAll()
    }

    /// Seconds since 1970.
    package static func now() -> Int64 { Int64(Date().timeIntervalSince1970) }

    // MARK: Subscribing

    /// Subscribes to messages for `key`, now and after each reconnect. A key that is subscribed to already changes its
    /// subscriber.
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

    /// Asks for stored events once.
    ///
    /// - Parameter completion: Called once with the events, which are not verified, and whether they are complete: the
    ///   relay sent EOSE, and not CLOSED, and neither the connection nor the time ended first.
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

    /// Sends an event; `completion` gets the answer, once.
    ///
    /// - Parameter message: The encoded EVENT message of the event with this id.
    package func publish(_ id: EventID, _ message: ByteBuffer, completion: @escaping (PublishResult) -> Void) {
        guard self.isOpen else { return completion(.unreachable) }
        if let limit = self.information.limitation.maximumMessageLength, message.readableBytes > limit {
            return completion(.rejected(ReasonText(.invalid, "longer than the relay's limit of \(limit) bytes")))
        }
        guard self.publications.add(id, completion: completion) else {
            return completion(.rejected(ReasonText(.rateLimited, "too many unanswered events")))
        }
        self.metrics.published.increment()
        self.send(message)
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
        guard self.publications.contains(id) else { return }
        var reason = reason
        if !isAccepted, reason.prefix == .authRequired, !self.authenticate() {
            // The relay knows the key, or rejected it: another attempt changes nothing.
            reason = ReasonText(.restricted, reason.text)
        }
        // The relay already has a duplicate. `mute:` means that no client is subscribed; some relays send it with OK true.
        if reason.prefix != .mute, isAccepted || reason.prefix == .duplicate {
            self.publications.complete(id, .accepted)
        } else {
            self.metrics.rejected.increment()
            self.logger.debug("relay rejected an event", metadata: ["reason": "\(reason)"])
            self.publications.complete(id, .rejected(reason))
        }
    }

    // MARK: Authenticating

    /// Whether the relay requires authentication, by its information document or by closing a subscription.
    private var requiresAuthentication: Bool {
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

    /// Hands a tunnel message to the subscriber of its recipient.
    private func deliver(_ event: Event) {
        guard event.kind == .tunnelMessage, let value = event.firstValue(of: "p"), value.bytes.count == 64,
            let bytes = Bytes32(lowercaseHex: value.bytes.span)
        else {
            self.metrics.misdirected.increment()
            return
        }
        let key = PublicKey(unchecked: bytes)
        guard let subscriber = self.subscriptions.subscriber(of: key) else {
            // A key that was just unsubscribed from, or a spare one that a stranger wrote to.
            self.metrics.misdirected.increment()
            return
        }
        subscriber.relay(self, didReceive: event, for: key)
    }
}

extension RelayConnection: RelaySocketDelegate {
    func relaySocketDidOpen(_ socket: RelaySocket) {
        guard case .connecting(let current) = self.state, current === socket else { return }
        self.state = .open(socket)
        self.lastError = nil
        self.malformedMessages = 0
        if let information = socket.information { self.information = information }
        self.metrics.connects.increment()
        self.logger.debug("relay connected")
        let since = self.lastDisconnect.map {
            max($0 - 5, Self.now() - self.configuration.catchUp.nanoseconds / 1_000_000_000)
        }
        self.subscriptions.connectionOpened(
            since: since,
            maximumSubscriptions: self.information.limitation.maximumSubscriptions
        )
        self.delegate?.relay(self, didChange: .connected)
        // The challenge may have come before the information document.
        if self.requiresAuthentication { _ = self.authenticate() }
        self.subscriptions.advance()
        let waiters = self.openWaiters
        self.openWaiters = [:]
        for waiter in waiters.values { waiter(true) }
    }

    func relaySocket(_ socket: RelaySocket, didReceive message: ByteBuffer) {
        self.carriedBytes += Int64(message.readableBytes)
        do {
            self.receive(try RelayMessage.parse(message))
        } catch {
            // Relays may send types that this client does not know.
            if case .unknownType = error { return }
            self.metrics.malformed.increment()
            self.malformedMessages += 1
            self.logger.debug("relay sent a malformed message", metadata: ["error": "\(error)"])
            if self.malformedMessages > self.configuration.maximumMalformedMessages { socket.closeForPolicyViolation() }
        }
    }

    func relaySocket(_ socket: RelaySocket, didChangeWritability isWritable: Bool) {
        guard self.isOpen else { return }
        for subscriber in self.subscriptions.subscribers { subscriber.relay(self, didChangeWritability: isWritable) }
    }

    func relaySocket(_ socket: RelaySocket, didClose reason: String) {
        if case .stopped = self.state { return }
        let wasOpen = self.isOpen
        if wasOpen {
            self.metrics.disconnects.increment()
            self.lastDisconnect = Self.now()
        }
        let isChange = wasOpen || self.lastError == nil
        self.lastClockOffset = socket.clockOffset ?? self.lastClockOffset
        self.lastError = reason
        // Another relay may answer under this name next time.
        self.informationCache?.forget(self.url)
        self.backoff.connectionHeld(for: socket.openedAt.map { NIODeadline.now() - $0 } ?? .zero)
        let wait = self.backoff.next(using: &self.generator)
        self.logger.debug(
            wasOpen ? "relay disconnected" : "relay not reachable",
            metadata: ["reason": "\(reason)", "retry_ms": "\(wait.nanoseconds / 1_000_000)"]
        )
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.state = .waiting(self.loop.scheduleTask(in: wait) { bound.value.connect() })
        // Report the lost path before the lost events, so that subscribers send them again on other paths.
        if wasOpen { for subscriber in self.subscriptions.subscribers { subscriber.relayDidDisconnect(self) } }
        if isChange { self.delegate?.relay(self, didChange: .disconnected(reason: reason)) }
        self.failPending()
    }
}

extension RelayConnection: RecipientSubscriptionsDelegate {
    func send(_ message: ByteBuffer) {
        guard case .open(let socket) = self.state else { return }
        self.carriedBytes += Int64(message.readableBytes)
        socket.send(message)
    }

    /// Answers the challenge, unless it was answered. False if there is none, or the relay rejected this key.
    func authenticate() -> Bool {
        guard self.isOpen else { return false }
        switch self.authentication.nextStep {
        case .wait: return true
        case .unavailable: return false
        case .answer(let challenge):
            guard
                let event = try? Event.signed(
                    by: self.authenticationKey,
                    createdAt: Self.now(),
                    kind: .authentication,
                    tags: [Tag("relay", ByteString(self.url.text)), Tag("challenge", ByteString(challenge))],
                    content: ByteBuffer()
                )
            else { return false }
            self.authentication.sent(event.id)
            self.send(ClientMessage.authentication(event).encoded())
            return true
        }
    }

    func reconnect() {
        if case .open(let socket) = self.state { socket.close() }
    }

    func didSubscribe(_ key: PublicKey, for subscriber: (any RelaySubscriber)?) {
        subscriber?.relay(self, didSubscribe: key)
    }

    func subscriptionWasAccepted() {
        self.delegate?.relay(self, didChange: .subscribed)
    }
}
