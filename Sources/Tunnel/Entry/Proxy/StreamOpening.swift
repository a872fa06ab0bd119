//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import NostrCrypto
import TunnelProtocol

/// A proxy client's stream on its way to being open: asks the core, keeps what the link says meanwhile, and hands over to
/// a splice.
final class StreamOpening: StreamEndpoint {
    private(set) var request: ProxyRequest
    /// The exit in use for a place on the internet.
    private var exit: PublicKey?
    /// Most exits that are tried for one request.
    private static let maximumExits = 3
    private let core: EntryCore
    private let logger: Logger
    private let startedAt = NIODeadline.now()
    private let onOpened: () -> Void
    private let onFailed: (ProxyFailure) -> Void
    private let onEnded: (StreamEnd?) -> Void

    private var earlyData: [UInt8] = []
    private var stream: OpenedStream?
    private var isOver = false
    private var hasTriedAgain = false
    /// What the link reported before the stream's own endpoint was there.
    private var early: [(any StreamEndpoint) -> Void] = []
    /// What took over. The link may still call here for what it said in one go.
    private var successor: (any StreamEndpoint)?

    /// - Parameters:
    ///   - onOpened: Called once when the exit connected; ``join(_:leftover:inputIsClosed:)`` then.
    ///   - onFailed: Called once instead.
    ///   - onEnded: Called once when a stream that was opened is over; nil if everything was carried.
    init(
        _ request: ProxyRequest,
        core: EntryCore,
        logger: Logger,
        onOpened: @escaping () -> Void,
        onFailed: @escaping (ProxyFailure) -> Void,
        onEnded: @escaping (StreamEnd?) -> Void = { _ in }
    ) {
        self.onEnded = onEnded
        self.request = request
        self.core = core
        self.logger = logger
        self.onOpened = onOpened
        self.onFailed = onFailed
    }

    /// How many of the client's first bytes the exit has already.
    var earlyBytes: Int { self.stream?.earlyBytes ?? 0 }

    /// - Parameter earlyData: What the client sent already.
    func start(earlyData: [UInt8] = []) {
        self.earlyData = earlyData
        self.core.open(self.request, earlyData: earlyData, endpoint: self) {
            self.exit = $0
        } completion: { result in
            switch result {
            case .success(let stream):
                self.stream = stream
                if self.isOver { stream.link.reset(stream.id, .connectionReset) }
            case .failure(let error):
                self.fail(.notAsked(error))
            }
        }
    }

    /// The client is gone.
    func abandon() {
        guard !self.isOver, self.successor == nil else { return }
        self.isOver = true
        if let stream { stream.link.reset(stream.id, .cancelled) } else { self.core.cancel(self) }
    }

    /// Puts a splice behind the handlers of the client's connection: from now on it joins socket and stream.
    ///
    /// - Parameters:
    ///   - leftover: What was read of the stream's bytes before.
    ///   - inputIsClosed: Whether the client sends no more.
    func join(_ context: ChannelHandlerContext, leftover: ByteBuffer, inputIsClosed: Bool) {
        guard let stream, !self.isOver else {
            context.close(promise: nil)
            return
        }
        let splice = SpliceHandler(link: stream.link, id: stream.id, onEnd: self.makeEnd())
        splice.breakReason = .cancelled
        stream.link.replaceEndpoint(of: stream.id, with: splice)
        do {
            try context.pipeline.syncOperations.addHandler(splice)
        } catch {
            splice.fail(.connectionReset)
            context.close(promise: nil)
            return
        }
        splice.unread(leftover, inputIsClosed: inputIsClosed)
        self.hand(over: splice)
    }

    /// Hands the stream to code of this program; nil if it is over already.
    func makeStream() -> TunnelStream? {
        guard let stream, !self.isOver else { return nil }
        let loop = self.core.loop
        let bridge = StreamBridge(carrier: stream.link, id: stream.id, loop: loop, onEnd: self.makeEnd())
        let result = TunnelStream(bridge, loop: loop)
        stream.link.replaceEndpoint(of: stream.id, with: bridge)
        self.hand(over: bridge)
        return result
    }

    private func hand(over endpoint: any StreamEndpoint) {
        self.successor = endpoint
        let early = self.early
        self.early = []
        for call in early { call(endpoint) }
    }

    /// What is said when the stream is over.
    private func makeEnd() -> (StreamEnd?, _ sent: Int, _ received: Int) -> Void {
        let logger = self.logger
        let startedAt = self.startedAt
        let target = self.request.target
        let onEnded = self.onEnded
        return { reason, sent, received in
            logger.info(
                "stream ended",
                metadata: [
                    "target": "\(target)", "sent": "\(sent)", "received": "\(received)",
                    "ms": "\((NIODeadline.now() - startedAt).nanoseconds / 1_000_000)",
                    "reason": "\(reason?.rawValue ?? "complete")",
                ]
            )
            onEnded(reason)
        }
    }

    private func fail(_ failure: ProxyFailure) {
        guard !self.isOver else { return }
        if let exit, failure.deservesAnotherExit(self.request.target) {
            if failure.isTheExits { self.core.directory.failed(exit, at: .now()) }
            self.request.triedExits.insert(exit)
            self.exit = nil
            if self.request.triedExits.count < Self.maximumExits, self.core.chooseExit(self.request) != nil {
                self.stream = nil
                self.startAgain()
                return
            }
        }
        self.isOver = true
        self.stream = nil
        self.logger.warning(
            "cannot connect",
            metadata: [
                "target": "\(self.request.target)", "hop": "\(failure.hop.rawValue)", "reason": "\(failure.text)",
            ]
        )
        self.onFailed(failure)
    }

    private func startAgain() {
        let bound = NIOLoopBound(self, eventLoop: self.core.loop)
        self.core.loop.execute {
            guard !bound.value.isOver else { return }
            bound.value.start(earlyData: bound.value.earlyData)
        }
    }

    // MARK: Stream

    func opened() {
        guard !self.isOver, self.stream != nil else { return }
        self.logger.debug("stream opened", metadata: ["target": "\(self.request.target)"])
        self.onOpened()
    }

    func ended(_ reason: StreamEnd?) {
        if let successor {
            successor.ended(reason)
            return
        }
        guard !self.isOver else { return }
        self.stream = nil
        if reason == .unknownSession, !self.hasTriedAgain {
            // The exit restarted, and this request reached nobody: it is as good as new in another session, which can
            // be had once the old one is forgotten.
            self.hasTriedAgain = true
            self.startAgain()
            return
        }
        self.fail(.ended(reason ?? .connectionReset))
    }

    func credit(_ bytes: Int) { self.pass { $0.credit(bytes) } }
    func receive(_ data: ByteBuffer) { self.pass { $0.receive(data) } }
    func finished() { self.pass { $0.finished() } }

    /// To whatever takes over, now or as soon as it is there.
    private func pass(_ call: @escaping (any StreamEndpoint) -> Void) {
        if let successor { call(successor) } else { self.early.append(call) }
    }
}
