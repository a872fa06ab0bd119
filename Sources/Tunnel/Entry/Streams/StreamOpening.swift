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
    /// Requests the stream from an exit. The opening is attached to the stream when it was requested, or fails.
    func open(_ opening: StreamOpening)
    /// Cancels an opening that is not attached yet, because its client has closed the connection.
    func cancel(_ opening: StreamOpening)
    /// Records that an exit for targets on the internet has failed.
    func exitFailed(_ exit: PublicKey)
    /// Returns whether there is an exit that was not tried for this request.
    func hasAnotherExit(for request: ProxyRequest) -> Bool
    /// The exits that have an alias.
    var namedExits: [EntryHomePage.Exit] { get }
    /// Returns whether the exit of a request has accepted the identity of this device.
    func isIdentified(for request: ProxyRequest) -> Bool
    /// Returns the description of a remedy for the entry's operator.
    func text(of remedy: Remedy) -> String
}

/// Receives the result of a ``StreamOpening``.
protocol StreamOpeningDelegate: AnyObject {
    /// The exit has connected to the target. Take the stream with ``StreamOpening/join(_:leftover:inputIsClosed:)`` or
    /// ``StreamOpening/makeStream()``.
    func openingDidSucceed(_ opening: StreamOpening)
    /// The stream could not be opened. Called once, instead of ``openingDidSucceed(_:)``.
    func opening(_ opening: StreamOpening, didFail failure: ProxyFailure)
}

/// A stream that a client requested, from the request until its final endpoint takes over.
///
/// It tries another exit if that may succeed. It buffers the data that the peer sends meanwhile, and passes the data to
/// the final endpoint.
final class StreamOpening: AttachableEndpoint {
    private enum State {
        /// The opening is not attached to a stream.
        case waiting
        /// The opening is attached to a stream, and the final endpoint has not taken over.
        case attached(any StreamCarrier, StreamID)
        /// The final endpoint has taken over the stream.
        case handedOver(any StreamEndpoint)
        case over
    }

    /// Maximum number of exits that are tried for one request.
    private static let maximumExits = 3

    private(set) var request: ProxyRequest
    /// The client's first bytes, which may be sent together with an offer.
    let earlyData: [UInt8]
    /// Number of bytes of ``earlyData`` that the exit has received.
    private(set) var earlyBytes = 0
    /// The exit that was chosen for a target on the internet.
    private var exit: PublicKey?
    private unowned let opener: any StreamOpener
    private weak var delegate: (any StreamOpeningDelegate)?
    private let logger: LimitedLogger
    private let startedAt = NIODeadline.now()
    private let onEnd: (StreamEnd?) -> Void

    private var state = State.waiting
    private var hasRetriedSession = false
    /// Credit, data and end of data that were received before the final endpoint took over.
    private var credit = 0
    private var received: [ByteBuffer] = []
    private var isFinished = false

    /// - Parameters:
    ///   - delegate: Not retained.
    ///   - onEnd: Called once when an opened stream has ended. The reason is nil if all data was transferred.
    init(
        _ request: ProxyRequest,
        earlyData: [UInt8] = [],
        opener: any StreamOpener,
        logger: LimitedLogger,
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

    // MARK: Requesting

    func start() { self.opener.open(self) }

    /// The request as it is sent to the exit.
    var streamRequest: StreamRequest { self.request.streamRequest }

    /// The request, to be sent together with an offer. Nil for a target on the internet, whose name must not lose forward
    /// secrecy, and if there is too much data.
    func openingOfOffer(withData sendsData: Bool) -> OfferTerms.Opening? {
        guard !self.request.isClearnet, self.earlyData.count <= OfferTerms.Opening.maximumDataLength else { return nil }
        let data = sendsData ? self.earlyData : []
        return OfferTerms.Opening(
            request: StreamRequest(destination: "", port: self.request.target.port),
            data: data
        )
    }

    /// Records the exit that the entry has chosen for a target on the internet.
    func selected(_ exit: PublicKey) { self.exit = exit }

    func attach(to carrier: any StreamCarrier, as id: StreamID, earlyBytes: Int) {
        guard case .waiting = self.state else { return carrier.reset(id, .cancelled) }
        self.state = .attached(carrier, id)
        self.earlyBytes = earlyBytes
    }

    /// Fails the opening, because the stream could not be requested from an exit.
    func fail(_ error: EntryError) { self.fail(.notRequested(error)) }

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
        self.logger.log(.warning, "cannot connect", metadata, topic: .problems)
        self.delegate?.opening(self, didFail: failure)
    }

    /// Whether another exit can be tried if the chosen one fails.
    var hasAlternative: Bool {
        guard let exit else { return false }
        var request = self.request
        request.triedExits.insert(exit)
        return request.triedExits.count < Self.maximumExits && self.opener.hasAnotherExit(for: request)
    }

    private func tryAnotherExit(after failure: ProxyFailure) -> Bool {
        guard let exit, failure.isWorthAnotherExit(for: self.request.target) else { return false }
        if failure.isFailureOfExit { self.opener.exitFailed(exit) }
        let hasAlternative = self.hasAlternative
        self.request.triedExits.insert(exit)
        self.exit = nil
        guard hasAlternative else { return false }
        self.startAgain()
        return true
    }

    private func startAgain() {
        self.state = .waiting
        let bound = NIOLoopBound(self, eventLoop: self.opener.loop)
        // In a later turn of the event loop, because the old session must be removed first.
        self.opener.loop.execute {
            if case .waiting = bound.value.state { bound.value.start() }
        }
    }

    /// Ends the opening, because its client has closed the connection or does not need the stream.
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

    /// Adds a splice to the end of the client's pipeline. It transfers data between the socket and the stream from now
    /// on.
    ///
    /// - Parameters:
    ///   - leftover: Bytes of the client that were already read from the socket.
    ///   - inputIsClosed: Whether the client has finished sending.
    /// - Returns: Nil if the stream has already ended. The connection is then closed.
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

    /// Returns the stream for the program's own code. Nil if the stream has already ended.
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

    /// Returns a handler that logs the end of the stream and calls `onEnd`.
    private func endHandler() -> StreamEndHandler {
        let logger = self.logger
        let startedAt = self.startedAt
        let target = self.request.target
        let onEnd = self.onEnd
        return { reason, sent, received in
            logger.log(
                .info,
                "stream ended",
                [
                    "target": "\(target)", "sent": "\(sent)", "received": "\(received)",
                    "ms": "\((NIODeadline.now() - startedAt).nanoseconds / 1_000_000)",
                    "reason": "\(reason?.rawValue ?? "complete")",
                ],
                topic: .streams
            )
            onEnd(reason)
        }
    }

    // MARK: Stream

    func opened() {
        guard case .attached = self.state else { return }
        self.logger.log(.debug, "stream opened", ["target": "\(self.request.target)"], topic: .streams)
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
        if reason == .unknownSession, !self.hasRetriedSession, self.earlyBytes == 0, case .attached = self.state {
            // The exit has restarted and did not receive this request, so try again with a new session. Data that it took
            // with the offer may have reached the service and must not be sent again.
            self.hasRetriedSession = true
            self.startAgain()
            return
        }
        let isIdentified = reason == .notAllowed && self.opener.isIdentified(for: self.request)
        self.fail(isIdentified ? .refusedToDevice : .ended(reason ?? .connectionReset))
    }
}
