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
}

/// Keeps a connection to a relay open until ``stop()``: uses one ``RelaySocket`` after another, with growing pauses after
/// failures.
///
/// All methods must be called on its event loop.
final class ReconnectingSocket {
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

    private let target: RelaySocket.Target
    private let configuration: RelayClientConfiguration
    private let informationCache: RelayInformationCache?
    private let loop: any EventLoop
    private let logger: Logger
    weak var delegate: (any ReconnectingSocketDelegate)?

    private var state = State.idle
    private var backoff = Backoff()
    private var generator = SystemRandomNumberGenerator()
    private var lastClockOffset: Int64?
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
    var isOpen: Bool { if case .open = self.state { true } else { false } }

    /// Whether the send buffer has room.
    var isWritable: Bool { if case .open(let socket) = self.state { socket.isWritable } else { false } }

    /// Seconds by which the relay's clock is ahead of this machine's. Nil if the relay did not report its time.
    var clockOffset: Int64? {
        switch self.state {
        case .connecting(let socket), .open(let socket): socket.clockOffset ?? self.lastClockOffset
        case .idle, .waiting, .stopped: self.lastClockOffset
        }
    }

    /// Calls `body` once: with true when messages can be sent, or with false when `timeout` expires.
    func whenOpen(within timeout: TimeAmount, _ body: @escaping (Bool) -> Void) {
        guard !self.isOpen else { return body(true) }
        self.lastWaiter += 1
        let number = self.lastWaiter
        self.openWaiters[number] = body
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: timeout) { bound.value.openWaiters.removeValue(forKey: number)?(false) }
    }

    // MARK: Connecting

    /// Connects, and reconnects until ``stop()``.
    func start() { if case .idle = self.state { self.connect() } }

    /// Disconnects and does not reconnect.
    func stop() {
        let state = self.state
        self.state = .stopped
        switch state {
        case .connecting(let socket), .open(let socket): socket.abandon()
        case .waiting(let retry): retry.cancel()
        case .idle, .stopped: break
        }
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

    /// Closes the connection if it is open. A new one is established after a pause.
    func reconnect() { if case .open(let socket) = self.state { socket.close() } }

    /// Closes the connection because the relay violates the protocol. A new one is established after a pause.
    func closeForPolicyViolation() {
        switch self.state {
        case .connecting(let socket), .open(let socket): socket.closeForPolicyViolation()
        case .idle, .waiting, .stopped: break
        }
    }

    /// Sends a message if the connection is open.
    func send(_ message: ByteBuffer) {
        guard case .open(let socket) = self.state else { return }
        self.carriedBytes += Int64(message.readableBytes)
        socket.send(message)
    }
}

extension ReconnectingSocket: RelaySocketDelegate {
    func relaySocketDidOpen(_ socket: RelaySocket) {
        guard case .connecting(let current) = self.state, current === socket else { return }
        self.state = .open(socket)
        self.lastError = nil
        if let information = socket.information { self.information = information }
        self.delegate?.socketDidOpen()
        let waiters = self.openWaiters
        self.openWaiters = [:]
        for waiter in waiters.values { waiter(true) }
    }

    func relaySocket(_ socket: RelaySocket, didReceive message: ByteBuffer) {
        self.carriedBytes += Int64(message.readableBytes)
        self.delegate?.socketDidReceive(message)
    }

    func relaySocket(_ socket: RelaySocket, didChangeWritability isWritable: Bool) {
        if self.isOpen { self.delegate?.socketDidChangeWritability(isWritable) }
    }

    func relaySocket(_ socket: RelaySocket, didClose reason: String) {
        if case .stopped = self.state { return }
        let wasOpen = self.isOpen
        let isFirstReport = wasOpen || self.lastError == nil
        self.lastClockOffset = socket.clockOffset ?? self.lastClockOffset
        self.lastError = reason
        // The next connection may reach another server, which has other limits.
        self.informationCache?.forget(self.target.url)
        self.backoff.connectionEnded(after: socket.openedAt.map { NIODeadline.now() - $0 } ?? .zero)
        let wait = self.backoff.next(using: &self.generator)
        self.logger.debug(
            wasOpen ? "relay disconnected" : "relay not reachable",
            metadata: ["reason": "\(reason)", "retry_ms": "\(wait.nanoseconds / 1_000_000)"]
        )
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.state = .waiting(self.loop.scheduleTask(in: wait) { bound.value.connect() })
        self.delegate?.socketDidClose(reason, wasOpen: wasOpen, isFirstReport: isFirstReport)
    }
}
