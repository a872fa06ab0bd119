//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import Logging
import NIOCore
import NostrClient
import NostrCrypto
import TunnelProtocol

/// Is notified when a stream of an exit has ended.
protocol StreamConnectorDelegate: AnyObject {
    func streamDidEnd()
}

/// Connects streams to services and to targets on the internet, within the exit's rules and limits.
final class StreamConnector {
    /// The target of a stream.
    private enum Target: CustomStringConvertible {
        case service(Backend, port: UInt16?, tls: TLSTerminator?)
        case clearnet(ClearnetTarget, ExitPolicy)

        var description: String {
            switch self {
            case .service(let backend, _, _): "\(backend)"
            // The destinations of a public exit's clients are not logged.
            case .clearnet: "clearnet"
            }
        }

        /// The name in the audit log: the port of the service.
        var auditName: String {
            switch self {
            case .service(_, let port, _): port.map { "\($0)" } ?? "default"
            case .clearnet: "internet"
            }
        }

        var isLocal: Bool {
            if case .service(.local, _, _) = self { true } else { false }
        }

        var isClearnet: Bool {
            if case .clearnet = self { true } else { false }
        }
    }

    private let context: ExitContext
    private let dialer: BackendDialer
    /// Terminates TLS for the ports that are configured for it.
    var tls: TLSTerminator?
    /// Plain NIP-74 streams have a separate limit, because anyone can open one with a single message.
    private var plainStreams: StreamQuota
    private var sessionStreams: StreamQuota
    private var usage: PublicUsage
    private var connects: ConnectRates
    weak var delegate: (any StreamConnectorDelegate)?

    init(context: ExitContext) {
        self.context = context
        self.dialer = BackendDialer(timeout: context.configuration.dialTimeout, loop: context.loop)
        self.plainStreams = StreamQuota(limit: context.configuration.maximumPlainStreams)
        self.sessionStreams = StreamQuota(limit: context.configuration.maximumStreams)
        self.usage = PublicUsage(context.configuration.policy?.limits ?? ExitPolicy.Limits())
        self.connects = ConnectRates(perSecond: context.configuration.connectsPerSecondPerClient)
    }

    /// Number of streams that have not ended.
    var streamCount: Int { self.plainStreams.count + self.sessionStreams.count }

    /// Applies the limits of a new configuration.
    func updateLimits() {
        self.connects.perSecond = self.context.configuration.connectsPerSecondPerClient
        self.usage.limits = self.context.configuration.policy?.limits ?? ExitPolicy.Limits()
    }

    func sweep() {
        self.usage.sweep(at: .now())
        self.connects.sweep(at: .now())
    }

    // MARK: Connecting

    /// Connects a stream to its target. The caller must have checked that the client may open the stream.
    func connect(
        _ request: StreamRequest,
        of client: StreamClient,
        carrier: any StreamCarrier,
        id: StreamID
    ) -> StreamDecision {
        guard let target = self.target(of: request, client) else { return .refused(.notAllowed) }
        guard self.connects.admit(client.key, isKnown: client.identity != nil, at: .now()) else {
            self.context.metrics.reached(.connectsOfClient)
            return .refused(.tooManyStreams)
        }
        guard target.isClearnet else { return self.connect(target, of: client, carrier, id, throttles: []) }
        guard let throttles = self.usage.begin(client.key, at: .now()) else {
            self.context.metrics.reached(.streamsOfClient)
            return .refused(.tooManyStreams)
        }
        let decision = self.connect(target, of: client, carrier, id, throttles: throttles)
        if case .refused = decision { self.usage.end(client.key, at: .now()) }
        return decision
    }

    /// Returns the target of a request. Logs a message and returns nil if the exit has no service at the port.
    private func target(of request: StreamRequest, _ client: StreamClient) -> Target? {
        let configuration = self.context.configuration
        if let target = ClearnetTarget(request) {
            if let policy = configuration.policy { return .clearnet(target, policy) }
            // In plain NIP-74, a private exit connects its service whatever the destination is, as the reference does.
            guard client.isPlain else {
                self.context.logLimited(
                    .info,
                    "stream refused: the client wants a destination on the internet, and this exit is not public",
                    ["peer": "\(client.peer)"]
                )
                return nil
            }
        }
        if let backend = configuration.services.backend(for: request.port) {
            return .service(
                backend,
                port: request.port,
                tls: configuration.services.endsTLS(request.port) ? self.tls : nil
            )
        }
        self.context.logLimited(
            .info,
            "stream refused: no service at the port",
            ["peer": "\(client.peer)", "port": "\(request.port ?? 0)"]
        )
        return nil
    }

    private func connect(
        _ target: Target,
        of client: StreamClient,
        _ carrier: any StreamCarrier,
        _ id: StreamID,
        throttles: [Throttle]
    ) -> StreamDecision {
        guard self.hasRoom(for: client) else {
            self.context.metrics.reported(.tooManyStreams)
            self.context.logger.debug("stream refused: too many streams", metadata: ["peer": "\(client.peer)"])
            return .refused(.tooManyStreams)
        }
        let number = self.withQuota(of: client) { $0.begin() }
        let onEnd = self.endHandler(target, client, number)
        if case .service(.local(let service), _, _) = target {
            return .accepted(self.serve(service, carrier, id, client, number, onEnd: onEnd))
        }
        let isBehindTLS = if case .service(_, _, tls: .some) = target { true } else { false }
        let splice = SpliceHandler(
            carrier: carrier,
            id: id,
            side: isBehindTLS ? .serviceBehindTLS : .service,
            throttles: throttles,
            onEnd: onEnd
        )
        self.withQuota(of: client) {
            $0.enter(number, splice)
            $0.attemptBegan()
        }
        self.attempt(target, of: client, carrier, id, splice)
        return .accepted(splice)
    }

    private func attempt(
        _ target: Target,
        of client: StreamClient,
        _ carrier: any StreamCarrier,
        _ id: StreamID,
        _ splice: SpliceHandler
    ) {
        let loop = self.context.loop
        let bound = NIOLoopBound(self, eventLoop: loop)
        let boundCarrier = NIOLoopBound(carrier, eventLoop: loop)
        let boundSplice = NIOLoopBound(splice, eventLoop: loop)
        // Connect in a later turn of the event loop: an attempt may fail immediately, and the link must know the
        // endpoint before that.
        loop.flatSubmit { bound.value.dial(target, of: client, boundSplice) }.whenComplete { result in
            let connector = bound.value
            connector.withQuota(of: client) { $0.attemptEnded() }
            switch result {
            case .success(let channel):
                // The stream may have ended meanwhile.
                guard !boundSplice.value.isOver else { return channel.close(promise: nil) }
                connector.context.logger.debug("stream connected", metadata: ["peer": "\(client.peer)"])
                boundCarrier.value.connected(id)
            case .failure(let error):
                let end = BackendDialer.end(for: error)
                connector.attemptFailed(target, end, error)
                boundSplice.value.fail(end)
            }
        }
    }

    private func dial(
        _ target: Target,
        of client: StreamClient,
        _ splice: NIOLoopBound<SpliceHandler>
    ) -> EventLoopFuture<any Channel> {
        switch target {
        case .service(let backend, let port, let tls):
            self.dialer.connect(to: backend, tls: tls, header: self.header(for: client, port: port), splice: splice)
        case .clearnet(let target, let policy):
            self.dialer.connect(to: target, policy: policy, client: client.lookups, splice: splice)
        }
    }

    /// The header that names the client, if the service wants one.
    private func header(for client: StreamClient, port: UInt16?) -> ByteBuffer? {
        guard self.context.configuration.services.usesProxyProtocol(port) else { return nil }
        return ProxyProtocolHeader(
            client: client.peer,
            identity: client.identity,
            comment: self.context.configuration.comment(of: client.identity)
        ).encoded
    }

    private func attemptFailed(_ target: Target, _ end: StreamEnd, _ error: any Error) {
        switch target {
        case .service(let backend, _, _):
            self.context.logLimited(
                .warning,
                "cannot connect to the service",
                ["backend": "\(backend)", "error": "\(BackendDialer.reason(error))"]
            )
        case .clearnet:
            if end == .notAllowed { self.context.metrics.streamsForbidden.increment() }
            self.context.logger.debug("cannot connect to a clearnet target", metadata: ["reason": "\(end.rawValue)"])
        }
    }

    /// Passes a stream to a service in the program's own code.
    private func serve(
        _ service: LocalService,
        _ carrier: any StreamCarrier,
        _ id: StreamID,
        _ client: StreamClient,
        _ number: UInt64,
        onEnd: @escaping StreamEndHandler
    ) -> any StreamEndpoint {
        let loop = self.context.loop
        let bridge = StreamBridge(carrier: carrier, id: id, loop: loop, onEnd: onEnd)
        self.withQuota(of: client) { $0.enter(number, bridge) }
        let bound = NIOLoopBound(self, eventLoop: loop)
        let task = service.serve(TunnelStream(bridge, loop: loop)) {
            loop.execute { bound.value.ended(client, number) }
        }
        bridge.onFailure = { task.cancel() }
        let boundCarrier = NIOLoopBound(carrier, eventLoop: loop)
        // In a later turn of the event loop, because the link must know the endpoint first.
        loop.execute { boundCarrier.value.connected(id) }
        return bridge
    }

    // MARK: Reverse connections

    /// Connects to an entry that requested it (CONNECTR). The connection counts as a stream until the entry has
    /// accepted it.
    ///
    /// - Parameters:
    ///   - connections: The set that limits the number of these connections.
    ///   - onReady: Called when the entry has accepted the connection. The stream that it carries is counted from then
    ///     on.
    func connectToEntry(
        _ address: (host: String, port: UInt16),
        policy: DialPolicy,
        key: String,
        of client: StreamClient,
        in connections: ConnectionSet,
        onReady: @escaping (ReverseStream) -> Void
    ) {
        guard self.hasRoom(for: client) else { return self.context.metrics.reported(.tooManyStreams) }
        let number = self.plainStreams.begin()
        let loop = self.context.loop
        let bound = NIOLoopBound(self, eventLoop: loop)
        let boundConnections = NIOLoopBound(connections, eventLoop: loop)
        let stream = ReverseStream(
            .exit(key: key) { stream in
                bound.value.plainStreams.end(number)
                onReady(stream)
            },
            idleTimeout: self.context.configuration.nip74.idleTimeout
        )
        self.dialer.connectToEntry(
            host: address.host,
            port: Int(address.port),
            policy: policy,
            client: client.lookups,
            handler: NIOLoopBound(stream, eventLoop: loop)
        ).whenComplete { result in
            switch result {
            case .success(let channel):
                if !boundConnections.value.add(channel) { channel.close(promise: nil) }
                channel.closeFuture.whenComplete { _ in bound.value.ended(client, number) }
            case .failure(let error):
                bound.value.ended(client, number)
                bound.value.context.logLimited(
                    .info,
                    "cannot connect to the entry (CONNECTR)",
                    ["peer": "\(client.peer)", "reason": "\(error)"]
                )
            }
        }
    }

    // MARK: Counting

    private func withQuota<Result>(of client: StreamClient, _ body: (inout StreamQuota) -> Result) -> Result {
        client.isPlain ? body(&self.plainStreams) : body(&self.sessionStreams)
    }

    private func hasRoom(for client: StreamClient) -> Bool {
        guard client.isPlain else {
            return self.sessionStreams.hasRoom(beside: client.sessionStreams, of: client.sessions)
        }
        if self.plainStreams.isFull {
            // Evict outside of the quota's mutating call, because the end of the stream changes the quota, too.
            let silent = self.plainStreams.takeSilent(olderThan: self.context.configuration.silentStreamAge)
            silent?.evict()
        }
        return !self.plainStreams.isFull
    }

    private func ended(_ client: StreamClient, _ number: UInt64) {
        self.withQuota(of: client) { $0.end(number) }
        self.delegate?.streamDidEnd()
    }

    private func endHandler(_ target: Target, _ client: StreamClient, _ number: UInt64) -> StreamEndHandler {
        let startedAt = NIODeadline.now()
        let began = Moment.now.seconds
        return { [weak self] reason, sent, received in
            guard let self else { return }
            self.context.audit?.write(
                AuditRecord(
                    subject: .stream,
                    client: client.peer,
                    identity: client.identity,
                    name: self.context.configuration.comment(of: client.identity),
                    service: target.auditName,
                    began: began,
                    ended: Moment.now.seconds,
                    sent: sent,
                    received: received,
                    reason: reason
                )
            )
            // A stream of a local service counts until its handler has returned.
            if !target.isLocal { self.ended(client, number) }
            if target.isClearnet { self.usage.end(client.key, at: .now()) }
            self.context.logLimited(
                .info,
                "stream ended",
                [
                    "peer": "\(client.peer)", "backend": "\(target)", "sent": "\(sent)", "received": "\(received)",
                    "ms": "\((NIODeadline.now() - startedAt).nanoseconds / 1_000_000)",
                    "reason": "\(reason?.rawValue ?? "complete")",
                ],
                topic: .streams
            )
        }
    }
}
