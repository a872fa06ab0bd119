//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import NostrCrypto
import TunnelProtocol

/// Opens streams for the clients of an entry.
protocol StreamOpener: AnyObject {
    var loop: any EventLoop { get }
    /// Asks an exit for the stream. The opening is attached when it was asked, or fails.
    func open(_ opening: StreamOpening)
    /// The client of an opening that is not attached yet is gone.
    func cancel(_ opening: StreamOpening)
    /// An exit for targets on the internet did not work.
    func exitFailed(_ exit: PublicKey)
    /// Whether there is an exit that was not tried for this request.
    func hasAnotherExit(for request: ProxyRequest) -> Bool
    /// Describes a remedy to the entry's operator.
    func text(of remedy: Remedy) -> String
}

/// Receives the result of a ``StreamOpening``.
protocol StreamOpeningDelegate: AnyObject {
    /// The exit connected its target. Take the stream with ``StreamOpening/join(_:leftover:inputIsClosed:)`` or
    /// ``StreamOpening/makeStream()``.
    func openingDidSucceed(_ opening: StreamOpening)
    /// The stream could not be opened. Called once, instead of ``openingDidSucceed(_:)``.
    func opening(_ opening: StreamOpening, didFail failure: ProxyFailure)
}

/// A stream that a client asked for, from the request until its final endpoint takes over.
///
/// Tries another exit where that can help, keeps what the peer sends meanwhile, and hands it to the endpoint.
final class StreamOpening: AttachableEndpoint {
    private enum State {
        /// Not asked, or asked and not attached yet.
        case waiting
        /// Carried, and not taken by its final endpoint.
        case attached(any StreamCarrier, StreamID)
        /// The final endpoint has the stream.
        case handedOver(any StreamEndpoint)
        case over
    }

    /// Most exits that are tried for one request.
    private static let maximumExits = 3

    private(set) var request: ProxyRequest
    /// The client's first bytes, which may go with an offer.
    let earlyData: [UInt8]
    /// How many of ``earlyData`` the exit has.
    private(set) var earlyBytes = 0
    /// The exit that was chosen for a target on the internet.
    private var exit: PublicKey?
    private unowned let opener: any StreamOpener
    private weak var delegate: (any StreamOpeningDelegate)?
    private let logger: Logger
    private let startedAt = NIODeadline.now()
    private let onEnd: (StreamEnd?) -> Void

    private var state = State.waiting
    private var hasRetriedSession = false
    /// What the peer sent before the final endpoint was there.
    private var credit = 0
    private var received: [ByteBuffer] = []
    private var isFinished = false

    /// - Parameters:
    ///   - delegate: Not retained.
    ///   - onEnd: Called once when a stream that was opened has ended; nil if everything was transferred.
    init(
        _ request: ProxyRequest,
        earlyData: [UInt8] = [],
        opener: any StreamOpener,
        logger: Logger,
        delegate: any StreamOpeningDelegate,
        onEnd: @escaping (StreamEnd?) -> Void = { _ in }
    ) {
        self.request = request
        self.earlyData = earlyData
        self.opener = opener
        self.logger = logger
        self.delegate = delegate
        self.onEnd = onEnd
    }

    // MARK: Asking

    func start() { self.opener.open(self) }

    /// The request as it is sent to the exit.
    var streamRequest: StreamRequest { self.request.streamRequest }

    /// The client's first bytes, if an offer can carry them. Nil for a target on the internet: an offer names only a port, and
    /// the exit may have its own service at that port.
    var earlyDataOfOffer: SessionOffer.EarlyData? {
        guard !self.earlyData.isEmpty, !self.request.isClearnet,
            self.earlyData.count <= SessionOffer.EarlyData.maximumLength
        else { return nil }
        return SessionOffer.EarlyData(port: self.request.target.port, bytes: self.earlyData)
    }

    /// The entry chose an exit for a target on the internet.
    func chose(_ exit: PublicKey) { self.exit = exit }

    func attach(to carrier: any StreamCarrier, as id: StreamID, earlyBytes: Int) {
        guard case .waiting = self.state else { return carrier.reset(id, .cancelled) }
        self.state = .attached(carrier, id)
        self.earlyBytes = earlyBytes
    }

    /// The exit could not be asked.
    func fail(_ error: EntryError) { self.fail(.notAsked(error)) }

    private func fail(_ failure: ProxyFailure) {
        switch self.state {
        case .handedOver, .over: return
        case .waiting, .attached: break
        }
        if self.tryAnotherExit(after: failure) { return }
        self.state = .over
        var metadata: Logger.Metadata = [
            "target": "\(self.request.target)", "hop": "\(failure.hop.rawValue)", "reason": "\(failure.text)",
        ]
        if let remedy = failure.remedy { metadata["remedy"] = "\(self.opener.text(of: remedy))" }
        self.logger.warning("cannot connect", metadata: metadata)
        self.delegate?.opening(self, didFail: failure)
    }

    private func tryAnotherExit(after failure: ProxyFailure) -> Bool {
        guard let exit, failure.isWorthAnotherExit(for: self.request.target) else { return false }
        if failure.isTheExits { self.opener.exitFailed(exit) }
        self.request.triedExits.insert(exit)
        self.exit = nil
        guard self.request.triedExits.count < Self.maximumExits, self.opener.hasAnotherExit(for: self.request) else {
            return false
        }
        self.startAgain()
        return true
    }

    private func startAgain() {
        self.state = .waiting
        let bound = NIOLoopBound(self, eventLoop: self.opener.loop)
        // Not at once: the old session must be forgotten first.
        self.opener.loop.execute {
            if case .waiting = bound.value.state { bound.value.start() }
        }
    }

    /// The client is gone.
    func abandon() {
        let state = self.state
        self.state = .over
        switch state {
        case .waiting: self.opener.cancel(self)
        case .attached(let carrier, let id): carrier.reset(id, .cancelled)
        case .handedOver: self.state = state
        case .over: break
        }
    }

    // MARK: Handing over

    /// Adds a splice behind the handlers of the client's connection, which joins the socket and the stream from now on.
    ///
    /// - Parameters:
    ///   - leftover: Bytes of the stream that were read before.
    ///   - inputIsClosed: Whether the client sends no more.
    /// - Returns: Nil if the stream has ended already; the connection is closed then.
    @discardableResult
    func join(_ context: ChannelHandlerContext, leftover: ByteBuffer, inputIsClosed: Bool) -> SpliceHandler? {
        guard case .attached(let carrier, let id) = self.state else {
            context.close(promise: nil)
            return nil
        }
        let splice = SpliceHandler(carrier: carrier, id: id, side: .client, onEnd: self.endHandler())
        carrier.replaceEndpoint(of: id, with: splice)
        do {
            try context.pipeline.syncOperations.addHandler(splice)
        } catch {
            splice.fail(.connectionReset)
            context.close(promise: nil)
            return nil
        }
        splice.unread(leftover, inputIsClosed: inputIsClosed)
        self.handOver(to: splice)
        return splice
    }

    /// Hands the stream to code of this program; nil if it has ended already.
    func makeStream() -> TunnelStream? {
        guard case .attached(let carrier, let id) = self.state else { return nil }
        let loop = self.opener.loop
        let bridge = StreamBridge(carrier: carrier, id: id, loop: loop, onEnd: self.endHandler())
        let stream = TunnelStream(bridge, loop: loop)
        carrier.replaceEndpoint(of: id, with: bridge)
        self.handOver(to: bridge)
        return stream
    }

    private func handOver(to endpoint: any StreamEndpoint) {
        self.state = .handedOver(endpoint)
        if self.credit > 0 { endpoint.credit(self.credit) }
        let received = self.received
        self.received = []
        for data in received { endpoint.receive(data) }
        if self.isFinished { endpoint.finished() }
    }

    /// Logs the stream's end.
    private func endHandler() -> StreamEndHandler {
        let logger = self.logger
        let startedAt = self.startedAt
        let target = self.request.target
        let onEnd = self.onEnd
        return { reason, sent, received in
            logger.info(
                "stream ended",
                metadata: [
                    "target": "\(target)", "sent": "\(sent)", "received": "\(received)",
                    "ms": "\((NIODeadline.now() - startedAt).nanoseconds / 1_000_000)",
                    "reason": "\(reason?.rawValue ?? "complete")",
                ]
            )
            onEnd(reason)
        }
    }

    // MARK: Stream

    func opened() {
        guard case .attached = self.state else { return }
        self.logger.debug("stream opened", metadata: ["target": "\(self.request.target)"])
        self.delegate?.openingDidSucceed(self)
    }

    func credit(_ bytes: Int) {
        if case .handedOver(let endpoint) = self.state { endpoint.credit(bytes) } else { self.credit += bytes }
    }

    func receive(_ data: ByteBuffer) {
        if case .handedOver(let endpoint) = self.state { endpoint.receive(data) } else { self.received.append(data) }
    }

    func finished() {
        if case .handedOver(let endpoint) = self.state { endpoint.finished() } else { self.isFinished = true }
    }

    func ended(_ reason: StreamEnd?) {
        if case .handedOver(let endpoint) = self.state { return endpoint.ended(reason) }
        if reason == .unknownSession, !self.hasRetriedSession, case .attached = self.state {
            // The exit restarted, and this request did not reach it: a new session can carry it.
            self.hasRetriedSession = true
            self.startAgain()
            return
        }
        self.fail(.ended(reason ?? .connectionReset))
    }
}
