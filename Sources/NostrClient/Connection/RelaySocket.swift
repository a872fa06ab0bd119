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
    /// Called for each message of the relay. Some relays send their AUTH challenge before ``relaySocketDidOpen(_:)`` is
    /// called.
    func relaySocket(_ socket: RelaySocket, didReceive message: ByteBuffer)
    func relaySocket(_ socket: RelaySocket, didChangeWritability isWritable: Bool)
    /// The connection ended, or could not be established. Called once.
    func relaySocket(_ socket: RelaySocket, didClose reason: String)
}

/// A single connection to a relay, from resolving its host name to its end.
///
/// It connects once. ``ReconnectingSocket`` creates another one to reconnect. All methods must be called on its event
/// loop.
final class RelaySocket {
    /// What to connect to, and how.
    struct Target {
        let url: RelayURL
        let policy: DialPolicy
        /// TLS settings for `wss://`; nil for `ws://`.
        let tls: NIOSSLContext?
        /// Isolation key for the proxy. See ``SOCKS5Proxy/isolation``.
        let isolation: String
    }

    private enum State {
        case connecting
        case open(WebSocket)
        case closed
    }

    private let target: Target
    private let configuration: RelayClientConfiguration
    private let informationCache: RelayInformationCache?
    private let loop: any EventLoop
    private let logger: Logger
    private weak var delegate: (any RelaySocketDelegate)?
    private var state = State.connecting
    /// Timer that aborts the connection if its send buffer stays full.
    private var stall: Scheduled<Void>?

    /// When the socket opened; nil before.
    private(set) var openedAt: NIODeadline?
    /// The information document of the relay (NIP-11). Nil if it was not received in time.
    private(set) var information: RelayInformation?
    /// Seconds by which the relay's clock is ahead of this machine's, by the Date header field of the information
    /// document. Nil if unknown.
    private(set) var clockOffset: Int64?

    init(
        _ target: Target,
        configuration: RelayClientConfiguration,
        informationCache: RelayInformationCache?,
        loop: any EventLoop,
        logger: Logger,
        delegate: any RelaySocketDelegate
    ) {
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
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.addresses().flatMap { bound.value.open($0) }.whenComplete { bound.value.connected($0) }
    }

    /// The proxy that this connection uses.
    private var proxy: SOCKS5Proxy? {
        guard var proxy = self.configuration.proxy else { return nil }
        proxy.isolation = self.target.isolation
        return proxy
    }

    /// Addresses of the proxy, or those of the relay that the policy allows.
    private func addresses() -> EventLoopFuture<[SocketAddress]> {
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
        return resolver.resolve(
            host: url.host,
            port: url.port,
            for: LookupClient(url.host, isKnown: false),
            on: self.loop
        ).flatMapThrowing {
            let allowed = $0.filter { policy.allows($0, requestTarget: url.requestTarget) }
            guard !allowed.isEmpty else { throw RelayConnectionError.addressNotAllowed }
            return allowed
        }
    }

    private func open(_ addresses: [SocketAddress]) -> EventLoopFuture<WebSocket> {
        let url = self.target.url
        var target = WebSocketClient.Target(
            addresses: addresses,
            host: url.host,
            authority: url.authority,
            requestTarget: url.requestTarget,
            tls: self.target.tls
        )
        if let proxy = self.proxy { target.proxy = (proxy, port: url.port) }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let socket = WebSocketClient.connect(
            to: target,
            on: self.loop,
            configuration: self.configuration.webSocket,
            events: WebSocket.Events(
                onMessage: { bound.value.receive($0) },
                onWritabilityChange: { bound.value.writabilityChanged($0) },
                onClose: { bound.value.finish("\($0)") }
            )
        )
        if let known = self.informationCache?.known(of: url, at: .now()) {
            self.information = known.information
            self.clockOffset = known.clockOffset
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
            bound.value.learned(information, clockOffset: document?.date.map { $0 - UnixTime.now })
            answer.succeed(information)
        }
        return answer.futureResult
    }

    /// Stores the document for later connections, even if it is too late for this one.
    ///
    /// The document of a relay that requires authentication is not stored. Requesting it again delays the first REQ
    /// until the AUTH challenge has usually arrived. A REQ that is sent before it would be rejected.
    private func learned(_ information: RelayInformation?, clockOffset: Int64?) {
        if case .closed = self.state { return }
        if let clockOffset { self.clockOffset = clockOffset }
        guard let information, information.limitation.authenticationRequired != true else { return }
        self.informationCache?.note(information, clockOffset: clockOffset, of: self.target.url, at: .now())
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
            self.delegate?.relaySocketDidOpen(self)
        case .failure(let error):
            self.finish(RelayConnectionError.text(of: error))
        }
    }

    // MARK: Open

    /// Whether the send buffer has room.
    var isWritable: Bool {
        if case .open(let socket) = self.state { socket.isWritable } else { false }
    }

    func send(_ message: ByteBuffer) {
        if case .open(let socket) = self.state { socket.sendText(message) }
    }

    private func receive(_ message: ByteBuffer) {
        if case .closed = self.state { return }
        self.delegate?.relaySocket(self, didReceive: message)
    }

    private func writabilityChanged(_ isWritable: Bool) {
        guard case .open = self.state else { return }
        self.stall?.cancel()
        if !isWritable { self.abortIfStalled() }
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
        let state = self.state
        self.state = .closed
        self.stall?.cancel()
        if case .open(let socket) = state { socket.close() }
    }

    private func finish(_ reason: String) {
        if case .closed = self.state { return }
        self.state = .closed
        self.stall?.cancel()
        self.delegate?.relaySocket(self, didClose: reason)
    }
}
