//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore
import NIOSSL
import Nostr

/// Reports what happens on a ``RelaySocket``. Nothing is reported after ``relaySocket(_:didClose:)``.
protocol RelaySocketDelegate: AnyObject {
    /// The WebSocket is open, and the relay's information document has arrived or is no longer awaited.
    func relaySocketDidOpen(_ socket: RelaySocket)
    /// Called for each message of the relay, after ``relaySocketDidOpen(_:)``.
    func relaySocket(_ socket: RelaySocket, didReceive message: ByteBuffer)
    func relaySocket(_ socket: RelaySocket, didChangeWritability isWritable: Bool)
    /// The relay, or the network, does not answer. Called about once a second until something is received.
    func relaySocketIsSilent(_ socket: RelaySocket)
    /// The relay does not answer pings. Send a message that it answers.
    func relaySocketNeedsMessage(_ socket: RelaySocket)
    /// The connection ended, or could not be established. Called once.
    func relaySocket(_ socket: RelaySocket, didClose reason: String, _ failure: ConnectionFailure)
}

/// A single connection to a relay, from resolving its host name to its end.
///
/// It connects once. ``ReconnectingSocket`` creates another one to reconnect. All methods must be called on its event
/// loop.
final class RelaySocket {
    /// How long a lookup may take if addresses of an earlier one are known.
    private static let lookupTimeout: TimeAmount = .milliseconds(250)

    /// What to connect to, and how.
    struct Target {
        let url: RelayURL
        let policy: DialPolicy
        /// Returns the TLS settings for `wss://`; nil for `ws://`. Called for each connection, because the system's
        /// certificates may be installed later.
        let tls: () throws(RelayConnectionError) -> NIOSSLContext?
        /// Isolation key for the proxy. See ``SOCKS5Proxy/isolation``.
        let isolation: String
    }

    private enum State {
        case connecting
        case open(WebSocket)
        case closed
    }

    private let target: Target
    private var tls: NIOSSLContext?
    private let configuration: RelayClientConfiguration
    private let informationCache: RelayInformationCache?
    private let loop: any EventLoop
    private let logger: Logger
    private weak var delegate: (any RelaySocketDelegate)?
    private var state = State.connecting
    /// Timer that aborts the connection if its send buffer stays full.
    private var stall: Scheduled<Void>?
    private var liveness: RelayLiveness?
    /// Whether the relay answers the message that was sent last.
    private var isAnswered = false

    /// Messages that arrived before ``RelaySocketDelegate/relaySocketDidOpen(_:)``. Others than the first ones are dropped.
    private var early: [ByteBuffer] = []
    private static let maximumEarlyMessages = 4

    /// Whether the addresses of the relay are still being looked up.
    private(set) var isLookingUp = true
    /// When the TCP connection was established; nil before.
    private(set) var connectedAt: NIODeadline?
    /// The addresses of the relay, if they were looked up.
    private(set) var addresses: [SocketAddress] = []
    /// Addresses of an earlier lookup. They are used if a new lookup takes long or fails.
    private let knownAddresses: [SocketAddress]

    /// When the socket opened; nil before.
    private(set) var openedAt: NIODeadline?
    /// The information document of the relay (NIP-11). Nil if it was not received in time.
    private(set) var information: RelayInformation?
    /// The relay's clock, by the Date header field of the information document. Nil if unknown.
    private(set) var clock: RelayClock?

    init(
        _ target: Target,
        configuration: RelayClientConfiguration,
        informationCache: RelayInformationCache?,
        knownAddresses: [SocketAddress],
        loop: any EventLoop,
        logger: Logger,
        delegate: any RelaySocketDelegate
    ) {
        self.knownAddresses = knownAddresses
        self.target = target
        self.configuration = configuration
        self.informationCache = informationCache
        self.loop = loop
        self.logger = logger
        self.delegate = delegate
    }

    // MARK: Connecting

    /// Resolves the host name, connects, and upgrades to WebSocket. Unless the information document is cached, requests
    /// it at the same time over another connection. Call once.
    func connect() {
        do throws(RelayConnectionError) {
            self.tls = try self.target.tls()
        } catch {
            let failure = error
            let bound = NIOLoopBound(self, eventLoop: self.loop)
            // In a later turn of the event loop, like other failures.
            return self.loop.execute { bound.value.connected(.failure(failure)) }
        }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.allowedAddresses().flatMap { bound.value.open($0) }.whenComplete { bound.value.connected($0) }
    }

    /// The proxy that this connection uses.
    private var proxy: SOCKS5Proxy? {
        guard var proxy = self.configuration.proxy else { return nil }
        proxy.isolation = self.target.isolation
        return proxy
    }

    /// Addresses of the proxy, or those of the relay that the policy allows.
    private func allowedAddresses() -> EventLoopFuture<[SocketAddress]> {
        let url = self.target.url
        let policy = self.target.policy
        if let proxy = self.proxy {
            let sendsQuery = policy.isUntrusted && url.requestTarget.contains("?")
            guard policy.allows(host: url.host), !sendsQuery || DialPolicy.untrusted.allows(host: url.host) else {
                return self.loop.makeFailedFuture(RelayConnectionError.addressNotAllowed)
            }
            return HostResolver.own.resolve(host: proxy.host, port: proxy.port, on: self.loop)
        }
        let resolver = policy.isUntrusted ? HostResolver.others : .own
        let lookup = resolver.resolve(
            host: url.host,
            port: url.port,
            for: LookupClient(url.host, isKnown: false),
            on: self.loop
        )
        return self.orKnownAddresses(lookup).flatMapThrowing {
            let allowed = $0.filter { policy.allows($0, requestTarget: url.requestTarget) }
            guard !allowed.isEmpty else { throw RelayConnectionError.addressNotAllowed }
            return allowed
        }
    }

    /// The addresses of a lookup, or those of an earlier one if it takes too long or fails.
    private func orKnownAddresses(_ lookup: EventLoopFuture<[SocketAddress]>) -> EventLoopFuture<[SocketAddress]> {
        let known = self.knownAddresses
        guard !known.isEmpty else { return lookup }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let promise = self.loop.makePromise(of: [SocketAddress].self)
        let timer = self.loop.scheduleTask(in: Self.lookupTimeout) { promise.succeed(known) }
        lookup.whenComplete { result in
            timer.cancel()
            guard let found = try? result.get() else { return promise.succeed(known) }
            // Even if it is too late for this connection, the next one uses it.
            bound.value.addresses = found.filter {
                bound.value.target.policy.allows($0, requestTarget: bound.value.target.url.requestTarget)
            }
            promise.succeed(found)
        }
        return promise.futureResult
    }

    private func open(_ addresses: [SocketAddress]) -> EventLoopFuture<WebSocket> {
        self.isLookingUp = false
        if case .closed = self.state { return self.loop.makeFailedFuture(RelayConnectionError.stopped) }
        if self.proxy == nil, self.addresses.isEmpty { self.addresses = addresses }
        let url = self.target.url
        var target = WebSocketClient.Target(
            addresses: addresses,
            host: url.host,
            authority: url.authority,
            requestTarget: url.requestTarget,
            tls: self.tls
        )
        if let proxy = self.proxy { target.proxy = (proxy, port: url.port) }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        var events = WebSocket.Events(
            onMessage: { bound.value.receive($0) },
            onWritabilityChange: { bound.value.writabilityChanged($0) },
            onClose: { bound.value.finish("\($0)", .ended) }
        )
        events.onBurstStart = { bound.value.heard() }
        let socket = WebSocketClient.connect(
            to: target,
            on: self.loop,
            configuration: self.configuration.webSocket,
            events: events,
            onConnect: { bound.value.connectedAt = .now() }
        )
        if let known = self.informationCache?.known(of: url, at: .now()) {
            self.information = known.information
            self.clock = known.clock
            return socket
        }
        return socket.and(self.requestInformation(target)).map { socket, information in
            bound.value.information = information
            return socket
        }
    }

    /// Requests the information document (NIP-11). The connection waits for it for a short time, because its limits
    /// must be known before the first message.
    ///
    /// The future succeeds with nil if no valid document is received in time.
    private func requestInformation(_ target: WebSocketClient.Target) -> EventLoopFuture<RelayInformation?> {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let answer = self.loop.makePromise(of: RelayInformation?.self)
        let timer = self.loop.scheduleTask(in: self.configuration.informationTimeout) { answer.succeed(nil) }
        HTTPClient.get(target, accept: "application/nostr+json", on: self.loop).whenComplete { result in
            timer.cancel()
            let document = try? result.get()
            let information = document.flatMap { try? RelayInformation(json: $0.body) }
            bound.value.learned(information, document?.date.map { RelayClock(reported: $0) })
            answer.succeed(information)
        }
        return answer.futureResult
    }

    /// Stores the document for later connections, even if it is too late for this one.
    ///
    /// The document of a relay that requires authentication is not stored. Requesting it again delays the first REQ
    /// until the AUTH challenge has usually arrived. A REQ that is sent before it would be rejected.
    private func learned(_ information: RelayInformation?, _ clock: RelayClock?) {
        if case .closed = self.state { return }
        if let clock { self.clock = clock }
        guard let information, information.limitation.authenticationRequired != true else { return }
        self.informationCache?.note(information, clock: clock, of: self.target.url, at: .now())
    }

    private func connected(_ result: Result<WebSocket, any Error>) {
        guard case .connecting = self.state else {
            if case .success(let socket) = result { socket.close() }
            return
        }
        switch result {
        case .success(let socket):
            self.state = .open(socket)
            self.openedAt = .now()
            let liveness = RelayLiveness(socket, delegate: self)
            self.liveness = liveness
            liveness.start()
            self.delegate?.relaySocketDidOpen(self)
            let early = self.early
            self.early = []
            for message in early { self.receive(message) }
        case .failure(let error):
            self.finish(RelayConnectionError.text(of: error), ConnectionFailure(error))
        }
    }

    // MARK: Open

    /// Whether the send buffer has room.
    var isWritable: Bool {
        if case .open(let socket) = self.state { socket.isWritable } else { false }
    }

    /// See ``ReconnectingSocket/send(_:compressing:expectsAnswer:)``.
    func send(_ message: consuming ByteBuffer, compressing base64: Range<Int>?, expectsAnswer: Bool) {
        guard case .open(let socket) = self.state else { return }
        socket.sendText(message, compressing: base64 ?? 0..<0)
        self.isAnswered = expectsAnswer
        if expectsAnswer { self.liveness?.expectAnswer() }
    }

    private func heard() {
        self.liveness?.heard()
        self.expectAnswerIfFull()
    }

    /// Expects an answer while the send buffer is full, because nothing is sent then that would make the relay answer.
    private func expectAnswerIfFull() {
        if self.isAnswered, !self.isWritable { self.liveness?.expectAnswer() }
    }

    /// Records that the relay has not answered all messages that it is known to answer.
    func expectAnswer() { self.liveness?.expectAnswer() }

    /// Whether the relay, or the network, does not answer.
    var isSilent: Bool { self.liveness?.isSilent ?? false }

    /// Finds out soon whether the open connection still exists.
    func verify() { self.liveness?.verify() }

    private func receive(_ message: ByteBuffer) {
        switch self.state {
        case .closed: return
        case .open: self.delegate?.relaySocket(self, didReceive: message)
        case .connecting:
            // The challenge of a relay, which may come before its information document.
            if self.early.count < Self.maximumEarlyMessages { self.early.append(message) }
        }
    }

    private func writabilityChanged(_ isWritable: Bool) {
        guard case .open = self.state else { return }
        self.stall?.cancel()
        if !isWritable { self.abortIfStalled() }
        self.expectAnswerIfFull()
        self.delegate?.relaySocket(self, didChangeWritability: isWritable)
    }

    /// Aborts the connection if the send buffer stays full for ``RelayClientConfiguration/stallTimeout``. Relays may
    /// reject the buffered events as too old. After the abort, their content is sent again in new events.
    private func abortIfStalled() {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.stall = self.loop.scheduleTask(in: self.configuration.stallTimeout) {
            guard case .open(let socket) = bound.value.state, !socket.isWritable else { return }
            bound.value.logger.debug("relay does not read any more, disconnecting")
            socket.abort()
        }
    }

    // MARK: Closing

    /// Starts the closing handshake. The delegate is called when the connection has ended.
    func close() {
        if case .open(let socket) = self.state { socket.close() }
    }

    /// Closes the connection with status 1008 (policy violation), because the relay exceeded a limit.
    func closeForPolicyViolation() {
        if case .open(let socket) = self.state { socket.closeForPolicyViolation() }
    }

    /// Closes the connection without calling the delegate.
    func abandon() {
        self.delegate = nil
        self.liveness?.stop()
        let state = self.state
        self.state = .closed
        self.stall?.cancel()
        if case .open(let socket) = state { socket.close() }
    }

    private func finish(_ reason: String, _ failure: ConnectionFailure) {
        if case .closed = self.state { return }
        self.state = .closed
        self.stall?.cancel()
        self.liveness?.stop()
        self.delegate?.relaySocket(self, didClose: reason, failure)
    }
}

extension RelaySocket: RelayLivenessDelegate {
    func livenessFoundSilence() { self.delegate?.relaySocketIsSilent(self) }
    func livenessNeedsMessage() { self.delegate?.relaySocketNeedsMessage(self) }
}
