//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import HTTPTransport
import Logging
import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// Streams: who may have which, and their connections to services and the internet.
extension ExitCore {
    // MARK: Streams

    /// Whether a CONNECT of NIP-74 may be dialled: never twice, and not where only sessions are served.
    func admit(_ connect: StreamRequest.Connect, of link: PeerLink) -> StreamEnd? {
        self.sessions?.offerBecamePlain(link.peer, connect.key)
        // Plain NIP-74 has no identities, so it would walk around the list.
        guard self.configuration.dialectChoice != .session, self.configuration.access == nil else {
            if self.complaints.take(at: .now()) {
                self.logger.warning(
                    "a client speaks plain NIP-74, which this exit does not serve (--dialect session, --allow)",
                    metadata: ["peer": "\(link.peer)"]
                )
            }
            return .notAllowed
        }
        let now = Moment.now.seconds
        guard
            self.replays.admit(client: link.peer, key: connect.key, createdAt: connect.createdAt, now: now)
        else {
            self.metrics.reported(.replayedConnect)
            if self.replays.hasFailed || self.replays.isFull, self.complaints.take(at: .now()) {
                self.logger.error(
                    self.replays.isFull
                        ? "too many plain NIP-74 requests at once to remember them all; more are refused for some minutes"
                        : "cannot write down which plain NIP-74 requests were served, so none are: is the disk full?"
                )
            }
            return .replayed
        }
        return nil
    }

    /// Who asked for a stream.
    struct Client {
        let peer: PublicKey
        /// Proven.
        let identity: PublicKey?
        /// Whether by plain NIP-74.
        let isPlain: Bool
        /// By which the stream goes, if it is one that a session or NIP-74 carries.
        let link: PeerLink?

        /// Whose limits count.
        var key: PublicKey { self.identity ?? self.peer }
    }

    /// Connects a stream to the service on its port, whatever destination it names.
    func connect(_ link: PeerLink, _ id: StreamID, _ request: StreamRequest) -> PeerLink.IncomingAnswer {
        guard self.drain == nil else { return .refused(.shuttingDown) }
        if let connect = request.connect, let refusal = self.admit(connect, of: link) { return .refused(refusal) }
        // Permission for some services is none for the internet.
        let isClearnet = self.configuration.policy != nil && ClearnetTarget(request) != nil
        if self.configuration.access != nil, self.sessions?.mayOpen(isClearnet ? nil : request.port, link) != true {
            // The same for everybody who may not, and for what there is and what there is not.
            self.metrics.streamsForbidden.increment()
            if self.complaints.take(at: .now()) {
                self.logger.info(
                    "stream refused: not allowed",
                    metadata: [
                        "identity": "\(link.identity?.npub ?? "none")", "peer": "\(link.peer)",
                        "port": "\(request.port ?? 0)",
                    ]
                )
            }
            return .refused(.notAllowed)
        }
        let client = Client(
            peer: link.peer,
            identity: link.identity,
            isPlain: request.connect != nil,
            link: link
        )
        return self.connect(link, id, request, of: client)
    }

    /// Connects the stream of a client that may have it.
    func connect(
        _ carrier: any StreamCarrier,
        _ id: StreamID,
        _ request: StreamRequest,
        of client: Client
    ) -> PeerLink.IncomingAnswer {
        guard let place = self.place(of: request, client.peer) else { return .refused(.notAllowed) }
        guard case .clearnet = place else { return self.connect(carrier, id, of: client, to: place, []) }
        guard let throttles = self.usage.begin(client.key, at: .now()) else {
            self.metrics.reached(.streamsOfClient)
            return .refused(.tooManyStreams)
        }
        let answer = self.connect(carrier, id, of: client, to: place, throttles)
        if case .refused = answer { self.usage.end(client.key, at: .now()) }
        return answer
    }

    /// Where a stream goes: to a service, or to a place on the internet. Nil, and a line of log, if there is neither.
    private func place(of request: StreamRequest, _ peer: PublicKey) -> Place? {
        if let policy = self.configuration.policy, let target = ClearnetTarget(request) {
            return .clearnet(target, policy)
        }
        if let backend = self.configuration.services.backend(for: request.port) {
            return .service(backend, tls: self.configuration.services.endsTLS(request.port) ? self.tls : nil)
        }
        if self.complaints.take(at: .now()) {
            self.logger.info(
                "stream refused: no service on that port",
                metadata: ["peer": "\(peer)", "port": "\(request.port ?? 0)"]
            )
        }
        return nil
    }

    /// What a stream is connected to.
    private enum Place: CustomStringConvertible {
        case service(Backend, tls: TLSTerminator?)
        case clearnet(ClearnetTarget, ExitPolicy)

        var description: String {
            switch self {
            case .service(let backend, _): "\(backend)"
            // Where strangers go is theirs to know.
            case .clearnet: "clearnet"
            }
        }
    }

    private func connect(
        _ carrier: any StreamCarrier,
        _ id: StreamID,
        of client: Client,
        to place: Place,
        _ throttles: [Throttle]
    ) -> PeerLink.IncomingAnswer {
        let isPlain = client.isPlain
        let peer = client.peer
        guard !self.isStopped, self.hasRoom(isPlain: isPlain, client.link) else {
            self.metrics.reported(.tooManyStreams)
            self.logger.debug("stream refused: too many", metadata: ["peer": "\(peer)"])
            return .refused(.tooManyStreams)
        }
        let number = self.withStreams(isPlain) { $0.begin() }
        let startedAt = NIODeadline.now()
        let logger = self.logger
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let boundCarrier = NIOLoopBound(carrier, eventLoop: self.loop)
        let isLocal = if case .service(.local, _) = place { true } else { false }
        let onEnd = { (reason: StreamEnd?, sent: Int, received: Int) in
            // Code of the program counts until it returned.
            if !isLocal {
                bound.value.withStreams(isPlain) { $0.end(number) }
                bound.value.streamEnded()
            }
            if case .clearnet = place { bound.value.usage.end(client.key, at: .now()) }
            logger.info(
                "stream ended",
                metadata: [
                    "peer": "\(peer)", "backend": "\(place)", "sent": "\(sent)",
                    "received": "\(received)",
                    "ms": "\((NIODeadline.now() - startedAt).nanoseconds / 1_000_000)",
                    "reason": "\(reason?.rawValue ?? "complete")",
                ]
            )
        }
        if case .service(.local(let service), _) = place {
            return .accepted(self.serve(service, carrier, id, number, isPlain: isPlain, onEnd: onEnd))
        }
        let splice = SpliceHandler(link: carrier, id: id, onEnd: onEnd)
        splice.throttles = throttles
        if case .service(_, tls: .some) = place { splice.endsInOrder = true }
        self.withStreams(isPlain) { $0.note(number, splice) }
        let boundSplice = NIOLoopBound(splice, eventLoop: self.loop)
        self.withStreams(isPlain) { $0.dials += 1 }
        // Not at once: a dial may fail at once, and the link must know the endpoint by then.
        self.loop.flatSubmit {
            bound.value.dial(place, boundSplice)
        }.whenComplete { result in
            bound.value.withStreams(isPlain) { $0.dials -= 1 }
            switch result {
            case .success(let channel):
                // The stream may have ended meanwhile.
                guard !boundSplice.value.isOver else {
                    channel.close(promise: nil)
                    return
                }
                logger.debug("stream connected", metadata: ["peer": "\(peer)"])
                boundCarrier.value.connected(id)
            case .failure(let error):
                let end = BackendDialer.end(for: error)
                bound.value.dialFailed(place, end, error)
                boundSplice.value.fail(end)
            }
        }
        return .accepted(splice)
    }

    /// Hands a stream to code of this program.
    private func serve(
        _ service: LocalService,
        _ carrier: any StreamCarrier,
        _ id: StreamID,
        _ number: UInt64,
        isPlain: Bool,
        onEnd: @escaping (StreamEnd?, _ sent: Int, _ received: Int) -> Void
    ) -> any StreamEndpoint {
        let bridge = StreamBridge(carrier: carrier, id: id, loop: self.loop, onEnd: onEnd)
        self.withStreams(isPlain) { $0.note(number, bridge) }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let loop = self.loop
        let task = service.serve(TunnelStream(bridge, loop: loop)) {
            loop.execute {
                bound.value.withStreams(isPlain) { $0.end(number) }
                bound.value.streamEnded()
            }
        }
        bridge.onBroken = { task.cancel() }
        let boundCarrier = NIOLoopBound(carrier, eventLoop: self.loop)
        // The link must know the endpoint by then.
        self.loop.execute { boundCarrier.value.connected(id) }
        return bridge
    }

    private func dial(_ place: Place, _ splice: NIOLoopBound<SpliceHandler>) -> EventLoopFuture<any Channel> {
        switch place {
        case .service(let backend, let tls): self.dialer.dial(backend, tls: tls, splice: splice)
        case .clearnet(let target, let policy):
            self.dialer.dial(target, policy: policy, splice: splice)
        }
    }

    private func dialFailed(_ place: Place, _ end: StreamEnd, _ error: any Error) {
        switch place {
        case .service(let backend, _):
            guard self.complaints.take(at: .now()) else { return }
            self.logger.warning(
                "cannot reach the backend",
                metadata: ["backend": "\(backend)", "error": "\(BackendDialer.reason(error))"]
            )
        case .clearnet:
            if end == .notAllowed { self.metrics.streamsForbidden.increment() }
            self.logger.debug("cannot reach a clearnet target", metadata: ["reason": "\(end.rawValue)"])
        }
    }

    private func withStreams<Result>(_ isPlain: Bool, _ body: (inout ExitStreams) -> Result) -> Result {
        isPlain ? body(&self.plainStreams) : body(&self.sessionStreams)
    }

    func hasRoom(isPlain: Bool, _ link: PeerLink?) -> Bool {
        guard isPlain else {
            return self.sessionStreams.hasRoom(beside: link?.streamCount ?? 0, of: self.sessions?.count ?? 1)
        }
        if self.plainStreams.isFull {
            // Its end is told to this exit, so not from inside.
            let silent = self.plainStreams.takeSilent(olderThan: self.configuration.silentStreamAge)
            silent?.evict()
        }
        return !self.plainStreams.isFull
    }
}
