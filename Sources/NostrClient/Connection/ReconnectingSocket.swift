//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import Nostr

/// Receives what happens on a ``ReconnectingSocket``.
protocol ReconnectingSocketDelegate: AnyObject {
    /// The connection is open. Messages can be sent now.
    func socketDidOpen()
    func socketDidReceive(_ message: ByteBuffer)
    func socketDidChangeWritability(_ isWritable: Bool)
    /// The connection ended, or could not be established. The socket reconnects after a pause.
    ///
    /// - Parameters:
    ///   - wasOpen: Whether messages could be sent before.
    ///   - isFirstReport: Whether the connection was open, or this is the first failure. False if the previous attempt failed,
    ///     too.
    func socketDidClose(_ reason: String, wasOpen: Bool, isFirstReport: Bool)
    /// The relay does not answer pings. Send a message that it answers.
    func socketNeedsMessage()
}

/// Keeps a connection to a relay open until ``stop()``.
///
/// It uses one ``RelaySocket`` after another. If the current one does not answer, it opens a new one before it closes the
/// current one, and keeps the one that works first.
///
/// All methods must be called on its event loop.
final class ReconnectingSocket {
    /// Maximum number of attempts at the same time. With one each second, each has this many seconds.
    private static let maximumAttempts = 3
    /// How long an attempt whose TCP connection is established is left alone before another one is made.
    private static let handshakeTime: TimeAmount = .seconds(4)
    /// Minimum time between attempts that are made because the network has changed.
    private static let verificationInterval: TimeAmount = .milliseconds(300)

    private let target: RelaySocket.Target
    private let configuration: RelayClientConfiguration
    private let informationCache: RelayInformationCache?
    private let loop: any EventLoop
    private let logger: Logger
    weak var delegate: (any ReconnectingSocketDelegate)?

    private var isStarted = false
    private var isStopped = false
    /// The open connection.
    private var current: RelaySocket?
    /// Connections that are being established, oldest first.
    private var attempts: [RelaySocket] = []
    /// Timer of the next attempt.
    private var nextAttempt: Scheduled<Void>?
    private var lastAttempt: NIODeadline?
    /// When the relay, which asked for fewer attempts, allows the next one.
    private var limitedUntil: NIODeadline?
    private var backoff = Backoff()
    private var generator = SystemRandomNumberGenerator()
    private var knownAddresses: [SocketAddress] = []
    private var lastClock: RelayClock?
    private var openWaiters: [UInt64: (Bool) -> Void] = [:]
    private var lastWaiter: UInt64 = 0

    /// The relay's information document (NIP-11). It has default values if it was not received.
    private(set) var information = RelayInformation()
    /// Why the last connection ended or could not be established. Nil while the connection is open.
    private(set) var lastError: String?
    /// Bytes of the messages sent and received, across reconnects.
    private(set) var carriedBytes: Int64 = 0

    /// - Parameter informationCache: A cache of information documents. If nil, each connection requests the document
    ///   from the relay.
    init(
        _ target: RelaySocket.Target,
        configuration: RelayClientConfiguration,
        informationCache: RelayInformationCache?,
        loop: any EventLoop,
        logger: Logger
    ) {
        self.target = target
        self.configuration = configuration
        self.informationCache = informationCache
        self.loop = loop
        self.logger = logger
    }

    // MARK: State

    /// Whether messages can be sent.
    var isOpen: Bool { self.current != nil }

    /// Whether the send buffer has room.
    var isWritable: Bool { self.current?.isWritable ?? false }

    /// The clock of the relay; nil if the relay did not report its time.
    var clock: RelayClock? { self.current?.clock ?? self.lastClock }

    /// Calls `body` once: with true when messages can be sent, or with false when `timeout` expires.
    func whenOpen(within timeout: TimeAmount, _ body: @escaping (Bool) -> Void) {
        guard !self.isOpen else { return body(true) }
        self.lastWaiter += 1
        let number = self.lastWaiter
        self.openWaiters[number] = body
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: timeout) { bound.value.openWaiters.removeValue(forKey: number)?(false) }
    }

    /// Where the relay's host answers STUN binding requests: at the addresses that connections may use. Empty behind a proxy.
    var stunServers: [SocketAddress] {
        guard self.configuration.proxy == nil else { return [] }
        let addresses = self.current.map(\.addresses) ?? self.knownAddresses
        return addresses.flatMap { address in
            self.information.stunPorts.map { port in
                var server = address
                server.port = Int(port)
                return server
            }
        }
    }

    // MARK: Connecting

    /// Connects, and reconnects until ``stop()``.
    func start() {
        guard !self.isStarted else { return }
        self.isStarted = true
        self.attempt()
    }

    /// Disconnects and does not reconnect.
    func stop() {
        self.isStopped = true
        self.endAttempts()
        self.current?.abandon()
        self.current = nil
    }

    private func attempt() {
        guard !self.isStopped, !self.obeysRefusal() else { return }
        if self.attempts.count >= Self.maximumAttempts {
            let index = self.attempts.firstIndex { $0.connectedAt == nil } ?? 0
            self.attempts.remove(at: index).abandon()
        }
        self.lastAttempt = .now()
        let socket = RelaySocket(
            self.target,
            configuration: self.configuration,
            informationCache: self.informationCache,
            knownAddresses: self.knownAddresses,
            loop: self.loop,
            logger: self.logger,
            delegate: self
        )
        self.attempts.append(socket)
        self.schedule(in: self.backoff.nextUnanswered(at: .now()))
        socket.connect()
    }

    /// Waits if the relay has refused another connection for a while. Returns whether it has.
    private func obeysRefusal() -> Bool {
        guard !self.isLimited, let refusal = self.informationCache?.refusal(of: self.target.url, at: .now()) else {
            return false
        }
        self.limitedUntil = refusal.until
        // The connections to the relay return one after another.
        self.schedule(in: refusal.until - .now() + .milliseconds(.random(in: 0...1_000, using: &self.generator)))
        guard self.current == nil, self.lastError == nil else { return true }
        self.lastError = refusal.reason
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.loop.execute {
            bound.value.delegate?.socketDidClose(refusal.reason, wasOpen: false, isFirstReport: true)
        }
        return true
    }

    private func schedule(in time: TimeAmount) {
        self.nextAttempt?.cancel()
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.nextAttempt = self.loop.scheduleTask(in: time) { bound.value.attemptIsDue() }
    }

    private func attemptIsDue() {
        self.nextAttempt = nil
        if let current, !current.isSilent { return self.endAttempts() }
        // A lookup takes its time. Another one would not be faster.
        if self.attempts.contains(where: \.isLookingUp) { return self.schedule(in: Backoff.unansweredWait) }
        // Something answers the newest attempt, so another one would not be faster.
        if let since = self.attempts.last?.connectedAt, .now() - since < Self.handshakeTime {
            return self.schedule(in: Backoff.unansweredWait)
        }
        self.reportUnanswered()
        self.attempt()
    }

    /// Reports once that the relay cannot be reached, although attempts continue.
    private func reportUnanswered() {
        guard !self.attempts.isEmpty, self.current == nil, self.lastError == nil else { return }
        let reason = "no answer"
        self.lastError = reason
        self.delegate?.socketDidClose(reason, wasOpen: false, isFirstReport: true)
    }

    private func endAttempts() {
        self.nextAttempt?.cancel()
        self.nextAttempt = nil
        let attempts = self.attempts
        self.attempts = []
        for socket in attempts { socket.abandon() }
    }

    /// Checks soon whether the connection still exists, or tries to connect now: the network may have changed.
    func verify() {
        guard self.isStarted, !self.isStopped else { return }
        self.backoff.networkChanged()
        if let current {
            current.verify()
        } else if !self.isLimited, self.attempts.last?.connectedAt == nil,
            self.lastAttempt.map({ .now() - $0 >= Self.verificationInterval }) ?? true
        {
            self.attempt()
        }
    }

    /// Whether the relay asked for fewer attempts, and the time for the next one has not come.
    var isLimited: Bool { self.limitedUntil.map { $0 > .now() } ?? false }

    /// Closes the connection if it is open. A new one is established after a pause.
    func reconnect() { self.current?.close() }

    /// Closes the connection because the relay violates the protocol. A new one is established after a pause.
    func closeForPolicyViolation() {
        for socket in self.attempts { socket.closeForPolicyViolation() }
        self.current?.closeForPolicyViolation()
    }

    /// Sends a message if the connection is open.
    ///
    /// - Parameters:
    ///   - message: The message.
    ///   - base64: The place of base64 characters in it that are compressed if the relay takes that. Nil to send it as it is.
    ///   - expectsAnswer: Whether the relay is known to answer such a message.
    func send(_ message: consuming ByteBuffer, compressing base64: Range<Int>? = nil, expectsAnswer: Bool = false) {
        guard let current else { return }
        self.carriedBytes += Int64(message.readableBytes)
        current.send(message, compressing: base64, expectsAnswer: expectsAnswer)
    }

    /// Records that the relay has not answered all messages that it is known to answer.
    func expectAnswer() { self.current?.expectAnswer() }
}

extension ReconnectingSocket: RelaySocketDelegate {
    func relaySocketDidOpen(_ socket: RelaySocket) {
        guard self.attempts.contains(where: { $0 === socket }) else { return }
        self.attempts.removeAll { $0 === socket }
        self.endAttempts()
        if let old = self.current {
            if !old.addresses.isEmpty { self.knownAddresses = old.addresses }
            old.abandon()
            self.current = nil
            self.delegate?.socketDidClose("the connection did not answer", wasOpen: true, isFirstReport: true)
        }
        self.backoff.networkChanged()
        self.limitedUntil = nil
        self.current = socket
        self.lastError = nil
        if let information = socket.information { self.information = information }
        if !socket.addresses.isEmpty { self.knownAddresses = socket.addresses }
        self.delegate?.socketDidOpen()
        let waiters = self.openWaiters
        self.openWaiters = [:]
        for waiter in waiters.values { waiter(true) }
    }

    func relaySocket(_ socket: RelaySocket, didReceive message: ByteBuffer) {
        guard socket === self.current else { return }
        self.carriedBytes += Int64(message.readableBytes)
        if !self.attempts.isEmpty { self.endAttempts() }
        self.delegate?.socketDidReceive(message)
    }

    func relaySocket(_ socket: RelaySocket, didChangeWritability isWritable: Bool) {
        if socket === self.current { self.delegate?.socketDidChangeWritability(isWritable) }
    }

    func relaySocketIsSilent(_ socket: RelaySocket) {
        guard socket === self.current, self.nextAttempt == nil, !self.isLimited else { return }
        self.logger.debug("relay does not answer, opening another connection")
        self.attempt()
    }

    func relaySocketNeedsMessage(_ socket: RelaySocket) {
        if socket === self.current { self.delegate?.socketNeedsMessage() }
    }

    func relaySocket(_ socket: RelaySocket, didClose reason: String, _ failure: ConnectionFailure) {
        if self.isStopped { return }
        let wasOpen = socket === self.current
        guard wasOpen || self.attempts.contains(where: { $0 === socket }) else { return }
        let isFirstReport = wasOpen || (self.current == nil && self.lastError == nil)
        self.attempts.removeAll { $0 === socket }
        self.lastClock = socket.clock ?? self.lastClock
        // The next connection may reach another server, which has other limits.
        self.informationCache?.forget(self.target.url)
        if wasOpen { self.backoff.connectionEnded(after: socket.openedAt.map { .now() - $0 } ?? .zero) }
        if wasOpen, !socket.addresses.isEmpty { self.knownAddresses = socket.addresses }
        var wait = self.backoff.next(after: failure, at: .now(), using: &self.generator)
        if let limitedUntil { wait = max(wait, limitedUntil - .now()) }
        self.logger.debug(
            wasOpen ? "relay disconnected" : "relay not reachable",
            metadata: ["reason": "\(reason)", "retry_ms": "\(wait.nanoseconds / 1_000_000)"]
        )
        if case .limited = failure {
            self.endAttempts()
            let until = NIODeadline.now() + wait
            self.limitedUntil = until
            self.informationCache?.note(.init(until: until, reason: reason), of: self.target.url, at: .now())
        }
        if wasOpen { self.current = nil }
        // Attempts that run continue.
        if self.attempts.isEmpty { self.schedule(in: wait) }
        guard self.current == nil else { return }
        self.lastError = reason
        self.delegate?.socketDidClose(reason, wasOpen: wasOpen, isFirstReport: isFirstReport)
    }
}
