//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import HTTPTransport
import Logging
public import NIOCore
import NIOPosix
import NIOSSL
public import Nostr
import NostrCrypto

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// One relay, connected for as long as it is wanted: reconnects, restores its subscription, answers AUTH.
///
/// Lives on its loop, where every method is called and every callback comes.
public final class RelayConnection {
    /// What happens on a connection.
    public struct Callbacks {
        /// A message for one of the recipients. Not verified.
        public var onEvent: (ReceivedEvent) -> Void
        /// The relay can be used, or used again.
        public var onUp: () -> Void
        /// It cannot; publishes that were not answered have failed.
        public var onDown: (_ reason: String) -> Void
        /// The send buffer ran full (false) or drained (true).
        public var onWritabilityChange: (Bool) -> Void

        public init(
            onEvent: @escaping (ReceivedEvent) -> Void,
            onUp: @escaping () -> Void,
            onDown: @escaping (_ reason: String) -> Void,
            onWritabilityChange: @escaping (Bool) -> Void
        ) {
            self.onEvent = onEvent
            self.onUp = onUp
            self.onDown = onDown
            self.onWritabilityChange = onWritabilityChange
        }
    }

    /// The answer to a published event.
    public enum PublishResult: Hashable, Sendable {
        case accepted
        case rejected(ReasonText)
        /// No connection.
        case unreachable
        /// The connection ended before an answer.
        case lost
        /// The relay did not answer in time; some never do.
        case unanswered
    }

    enum State {
        /// Not wanted yet.
        case idle
        /// Resolving, connecting, shaking hands, or waiting for the next try.
        case connecting
        /// Messages flow.
        case open(WebSocket, since: NIODeadline)
        /// For good.
        case stopped
    }

    struct PendingPublish {
        let completion: (PublishResult) -> Void
        let timeout: Scheduled<Void>
    }

    public let url: RelayURL
    let policy: DialPolicy
    let configuration: RelayClientConfiguration
    let loop: any EventLoop
    let logger: Logger
    let metrics = RelayClientMetrics()
    let tls: NIOSSLContext?
    /// What relays said of themselves to connections of the same node.
    let informationCache: RelayInformationCache?
    /// Answers AUTH challenges; a key that is nobody's identity unless the relay admits only that.
    let authenticationKey: SecretKey
    /// What a proxy keeps apart.
    let isolation: String
    let callbacks: Callbacks

    private(set) var state = State.idle
    private var backoff = Backoff()
    private var generator = SystemRandomNumberGenerator()
    private var retry: Scheduled<Void>?
    /// Ends a connection that takes nothing any more.
    private var stall: Scheduled<Void>?
    /// Tells callbacks of an earlier connection from those of the present one.
    private(set) var epoch = 0
    var malformedMessages = 0
    /// When the last connection ended, for catching up.
    private(set) var lastDown: Int64?
    /// What the relay says of itself; the defaults where it says nothing.
    public internal(set) var information = RelayInformation()
    /// Seconds by which the relay's clock is ahead of this machine's; nil if it does not tell the time.
    var clockOffset: Int64?
    public private(set) var lastError: String?
    /// Bytes of messages with the relay, both ways, since it is in use.
    public internal(set) var carriedBytes: Int64 = 0

    var pending: [EventID: PendingPublish] = [:]
    var subscription: RelaySubscription
    var subscriptionTimers: [Scheduled<Void>] = []
    var requestBucket: TokenBucket
    /// Refusals in a row.
    var subscriptionRefusals = 0
    /// When a REQ that had no token may go out.
    var requestTurn: Scheduled<Void>?
    var challenge: String?
    var authentication: RelayAuthentication = .none
    /// Called each time that a recipient's subscription comes into force.
    var recipients: [PublicKey: () -> Void] = [:]
    /// The recipients for which that was called on the present connection.
    var announced: Set<PublicKey> = []
    /// Called when a subscription has been in force for long enough to count as accepted.
    public var onSubscriptionSettled: (() -> Void)?
    /// Called once when the connection opens, or with false when it took too long.
    private var openWaiters: [UInt64: (Bool) -> Void] = [:]
    private var nextWaiter: UInt64 = 0
    var queries: [SubscriptionID: RelayQuery] = [:]
    var nextQueryNumber = 0

    /// - Parameters:
    ///   - tls: For `wss://`.
    ///   - isolation: What a proxy keeps apart from all else.
    ///   - informationCache: Nil if each connection has to ask the relay itself.
    init(
        url: RelayURL,
        policy: DialPolicy,
        configuration: RelayClientConfiguration,
        tls: NIOSSLContext?,
        authenticationKey: SecretKey,
        loop: any EventLoop,
        logger: Logger,
        isolation: String,
        informationCache: RelayInformationCache?,
        callbacks: Callbacks
    ) {
        self.isolation = isolation
        self.informationCache = informationCache
        self.tls = tls
        self.url = url
        self.policy = policy
        self.configuration = configuration
        self.authenticationKey = authenticationKey
        self.loop = loop
        var logger = logger
        logger[metadataKey: "relay.url"] = "\(url)"
        self.logger = logger
        self.callbacks = callbacks
        self.subscription = RelaySubscription(recipientsPerFilter: configuration.recipientsPerFilter)
        self.requestBucket = TokenBucket(perSecond: configuration.requestsPerSecond, now: .now())
    }

    // MARK: Connecting

    /// Whether messages can be sent.
    public var isOpen: Bool {
        if case .open = self.state { true } else { false }
    }

    /// Whether the send buffer has room.
    public var isWritable: Bool {
        if case .open(let socket, _) = self.state { socket.isWritable } else { false }
    }

    /// Starts connecting, and keeps at it.
    public func start() {
        guard case .idle = self.state else { return }
        self.state = .connecting
        self.connect()
    }

    /// Ends the connection for good.
    public func stop() {
        if case .stopped = self.state { return }
        let socket: WebSocket? = if case .open(let socket, _) = self.state { socket } else { nil }
        self.state = .stopped
        self.retry?.cancel()
        self.epoch += 1
        self.failEverything()
        socket?.close()
    }

    /// Calls `body` once: true as soon as messages can be sent, false if that takes longer than `patience`.
    public func whenOpen(within patience: TimeAmount, _ body: @escaping (Bool) -> Void) {
        if self.isOpen {
            body(true)
            return
        }
        self.nextWaiter += 1
        let number = self.nextWaiter
        self.openWaiters[number] = body
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: patience) { bound.value.openWaiters.removeValue(forKey: number)?(false) }
    }

    private func connect() {
        self.epoch += 1
        let epoch = self.epoch
        let port = self.url.port
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let addresses: EventLoopFuture<[SocketAddress]>
        let proxy = self.policy == .own ? nil : self.configuration.proxy
        if let proxy {
            addresses =
                self.policy.allows(host: self.url.host)
                ? HostResolver.own.resolve(host: proxy.host, port: proxy.port, on: self.loop)
                : self.loop.makeFailedFuture(RelayConnectionError.addressNotAllowed)
        } else {
            let resolver = self.policy.isNamedByOthers ? HostResolver.others : .own
            addresses = resolver.resolve(host: self.url.host, port: port, on: self.loop).flatMapThrowing {
                let policy = bound.value.policy
                let allowed = $0.filter { policy.allows($0) }
                guard !allowed.isEmpty else { throw RelayConnectionError.addressNotAllowed }
                return allowed
            }
        }
        addresses.flatMap { addresses in
            bound.value.open(addresses, proxy, epoch: epoch)
        }.whenComplete { result in
            bound.value.connected(result, epoch: epoch)
        }
    }

    private func connected(_ result: Result<WebSocket, any Error>, epoch: Int) {
        guard epoch == self.epoch, case .connecting = self.state else {
            if case .success(let socket) = result { socket.close() }
            return
        }
        switch result {
        case .success(let socket):
            self.state = .open(socket, since: .now())
            self.lastError = nil
            self.malformedMessages = 0
            self.metrics.connects.increment()
            self.logger.debug("relay connected")
            let since = self.lastDown.map {
                max($0 - 5, Self.now() - self.configuration.catchUp.nanoseconds / 1_000_000_000)
            }
            self.subscription.connectionOpened(
                since: since,
                subscriptions: self.information.limitation.maximumSubscriptions
            )
            self.subscriptionRefusals = 0
            self.callbacks.onUp()
            // The challenge may have come while the information document was awaited.
            if self.mustAuthenticate { self.authenticate() }
            self.advanceSubscription()
            let waiters = self.openWaiters
            self.openWaiters = [:]
            for waiter in waiters.values { waiter(true) }
        case .failure(let error):
            self.goDown(RelayConnectionError.text(of: error), held: .zero)
        }
    }

    func closed(_ reason: WebSocketCloseReason, epoch: Int) {
        guard epoch == self.epoch else { return }
        switch self.state {
        case .open(_, let since):
            self.metrics.disconnects.increment()
            self.goDown("\(reason)", held: NIODeadline.now() - since)
        case .connecting:
            // The handshake's end and the information document were still awaited.
            self.goDown("\(reason)", held: .zero)
        case .idle, .stopped:
            break
        }
    }

    /// The connection failed or ended: fails what hangs on it, and tries again later.
    private func goDown(_ reason: String, held: TimeAmount) {
        self.epoch += 1
        let wasOpen = self.isOpen
        self.state = .connecting
        self.lastError = reason
        if wasOpen { self.lastDown = Self.now() }
        // It may be another one when it comes back.
        self.informationCache?.forget(self.url)
        self.backoff.connectionHeld(for: held)
        let wait = self.backoff.next(using: &self.generator)
        self.logger.debug(
            wasOpen ? "relay disconnected" : "relay not reachable",
            metadata: ["reason": "\(reason)", "retry_ms": "\(wait.nanoseconds / 1_000_000)"]
        )
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.retry = self.loop.scheduleTask(in: wait) { bound.value.connect() }
        // First the path, then what was under way on it: whoever hears of the one can use another for the rest.
        self.callbacks.onDown(reason)
        self.failEverything()
    }

    private func failEverything() {
        self.stall?.cancel()
        let failed = self.pending
        self.pending = [:]
        self.challenge = nil
        self.authentication = .none
        self.subscription.connectionClosed()
        self.cancelSubscriptionTimers()
        self.requestTurn?.cancel()
        self.requestTurn = nil
        for publish in failed.values {
            publish.timeout.cancel()
            publish.completion(.lost)
        }
        self.announced = []
        let queries = self.queries
        self.queries = [:]
        for query in queries.values { query.finish(isComplete: false) }
    }

    /// Seconds since 1970.
    public static func now() -> Int64 { Int64(Date().timeIntervalSince1970) }

    /// Whether the relay said that it wants to know us, in its document or by closing the subscription.
    var mustAuthenticate: Bool {
        if self.information.limitation.authenticationRequired == true { return true }
        if case .refused(let reason) = self.subscription.acceptance { return reason.prefix == .authRequired }
        return false
    }

    // MARK: Messages

    /// Ends the connection as if the relay had: what it carried is not in order any more.
    func reconnect() {
        if case .open(let socket, _) = self.state { socket.close() }
    }

    func send(_ message: ByteBuffer) {
        guard case .open(let socket, _) = self.state else { return }
        self.carriedBytes += Int64(message.readableBytes)
        socket.sendText(message)
    }

    func writabilityChanged(_ isWritable: Bool, epoch: Int) {
        guard epoch == self.epoch, self.isOpen else { return }
        self.stall?.cancel()
        if !isWritable {
            // Events that wait here grow old, and relays refuse old ones. A new connection gets them sealed anew.
            let bound = NIOLoopBound(self, eventLoop: self.loop)
            self.stall = self.loop.scheduleTask(in: self.configuration.stallTimeout) {
                guard bound.value.epoch == epoch, !bound.value.isWritable else { return }
                bound.value.logger.debug("relay takes nothing any more")
                if case .open(let socket, _) = bound.value.state { socket.abort() }
            }
        }
        self.callbacks.onWritabilityChange(isWritable)
    }
}
