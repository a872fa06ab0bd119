//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
public import Logging
public import NIOCore
import NIOPosix
import Nostr
public import TunnelProtocol

/// A way to `.nostr` names: a proxy that speaks SOCKS5, SOCKS4a and HTTP on one port, and ports that lead to one target
/// each.
public final class EntryService: Sendable {
    /// Why an entry cannot start, beside the system's reasons.
    public struct NotLoopbackError: Error, CustomStringConvertible {
        public let address: String
        public var description: String { "\(self.address) is open to other machines" }
    }

    /// A port that leads to one target.
    public struct Forward: Hashable, Sendable {
        public var host: String
        /// 0 takes a free one.
        public var port: Int
        public var target: TargetAddress

        public init(host: String, port: Int, target: TargetAddress) {
            self.host = host
            self.port = port
            self.target = target
        }
    }

    private let core: NIOLoopBound<EntryCore>
    private let listeners: [any Channel]
    private let loop: any EventLoop
    private let connections: NIOLoopBound<ConnectionSet>
    private let logger: Logger

    /// Where the proxy listens; nil if there is none.
    public let proxyAddress: SocketAddress?
    /// Where the forwards listen, in their order.
    public let forwardAddresses: [SocketAddress]

    private init(
        core: NIOLoopBound<EntryCore>,
        listeners: [any Channel],
        loop: any EventLoop,
        connections: NIOLoopBound<ConnectionSet>,
        proxyAddress: SocketAddress?,
        forwardAddresses: [SocketAddress],
        logger: Logger
    ) {
        self.core = core
        self.listeners = listeners
        self.loop = loop
        self.connections = connections
        self.proxyAddress = proxyAddress
        self.forwardAddresses = forwardAddresses
        self.logger = logger
    }

    /// Binds and serves, all on `loop`.
    ///
    /// - Throws: The system's error if a port cannot be had, ``NotLoopbackError``, or what is wrong with the file of pins.
    public static func start(
        _ configuration: EntryConfiguration,
        on loop: any EventLoop,
        logger: Logger
    ) async throws -> EntryService {
        let proxy = configuration.servesProxy ? [(configuration.host, configuration.port)] : []
        let places = proxy + configuration.forwards.map { ($0.host, $0.port) }
        var addresses: [SocketAddress] = []
        for (host, port) in places {
            guard let address = try await HostResolver.own.resolve(host: host, port: port, on: loop).get().first else {
                throw ChannelError.unknownLocalAddress
            }
            guard AddressClass(address) == .loopback || configuration.allowsRemoteClients else {
                throw NotLoopbackError(address: host)
            }
            addresses.append(address)
        }
        let isLoopback = addresses.allSatisfy { AddressClass($0) == .loopback }
        let (core, connections) = try await loop.submit {
            let core = try EntryCore(
                configuration: configuration,
                listensOnLoopback: isLoopback,
                loop: loop,
                logger: logger
            )
            // Before anybody can connect.
            core.start()
            return (
                NIOLoopBound(core, eventLoop: loop),
                NIOLoopBound(ConnectionSet(limit: configuration.maximumConnections), eventLoop: loop)
            )
        }.get()
        let targets = (configuration.servesProxy ? [nil] : []) + configuration.forwards.map { Optional($0.target) }
        var listeners: [any Channel] = []
        do {
            for (address, target) in zip(addresses, targets) {
                listeners.append(try await Self.bind(address, to: target, core, connections, loop, logger))
            }
        } catch {
            for listener in listeners { try? await listener.close() }
            try await loop.submit { core.value.stop() }.get()
            throw error
        }
        let bound = listeners.compactMap(\.localAddress)
        do {
            if let address = configuration.publicAddress {
                let idleTimeout = configuration.dialect.idleTimeout
                listeners.append(try await Self.bindReverse(Int(address.port), core, idleTimeout, loop))
            }
        } catch {
            for listener in listeners { try? await listener.close() }
            try await loop.submit { core.value.stop() }.get()
            throw error
        }
        return EntryService(
            core: core,
            listeners: listeners,
            loop: loop,
            connections: connections,
            proxyAddress: configuration.servesProxy ? bound.first : nil,
            forwardAddresses: Array(bound.suffix(configuration.forwards.count)),
            logger: logger
        )
    }

    /// - Parameter target: Where every connection goes; nil for a proxy.
    private static func bind(
        _ address: SocketAddress,
        to target: TargetAddress?,
        _ core: NIOLoopBound<EntryCore>,
        _ connections: NIOLoopBound<ConnectionSet>,
        _ loop: any EventLoop,
        _ logger: Logger
    ) async throws -> any Channel {
        try await ServerBootstrap(group: loop)
            .serverChannelOption(.backlog, value: 1_024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.autoRead, value: false)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelInitializer { channel in
                guard connections.value.add(channel) else {
                    core.value.metrics.reached(.connections)
                    return channel.eventLoop.makeFailedFuture(ChannelError.eof)
                }
                return channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let target {
                        let request = ProxyRequest(target, credentials: nil)
                        try pipeline.addHandler(ForwardHandler(request, core: core.value, logger: logger))
                    } else {
                        try pipeline.addHandler(ProxyProtocolDetector(core: core.value, logger: logger))
                    }
                }
            }
            .bind(to: address)
            .get()
    }

    /// Listens for exits that were asked to connect, on every address as the reference does. Anybody can connect there, so
    /// they share nothing with the clients of the proxy.
    private static func bindReverse(
        _ port: Int,
        _ core: NIOLoopBound<EntryCore>,
        _ idleTimeout: TimeAmount?,
        _ loop: any EventLoop
    ) async throws -> any Channel {
        let bootstrap = ServerBootstrap(group: loop)
            .serverChannelOption(.backlog, value: 1_024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.autoRead, value: false)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(.socketOption(.so_keepalive), value: 1)
            .childChannelInitializer { channel in
                guard core.value.reverseConnections.add(channel) else {
                    core.value.metrics.reached(.reverseConnections)
                    return channel.eventLoop.makeFailedFuture(ChannelError.eof)
                }
                return channel.eventLoop.makeCompletedFuture {
                    let stream = ReverseStream(
                        .entry { core.value.reverseConnected($0, $1) },
                        idleTimeout: idleTimeout
                    )
                    try channel.pipeline.syncOperations.addHandler(stream)
                }
            }
        // Both families; IPv4 alone where the system has no IPv6.
        do {
            return try await bootstrap.bind(host: "::", port: port).get()
        } catch let error as IOError where error.errnoCode == EAFNOSUPPORT || error.errnoCode == EADDRNOTAVAIL {
            return try await bootstrap.bind(host: "0.0.0.0", port: port).get()
        }
    }

    /// What the entry is doing.
    public func status() async throws -> TunnelStatus {
        let core = self.core
        return try await self.loop.submit { core.value.status }.get()
    }

    /// Takes what can change while streams run: relays and exits.
    public func update(_ configuration: EntryConfiguration) async throws {
        let core = self.core
        try await self.loop.submit { core.value.update(configuration) }.get()
    }

    /// Joins two descriptors, a pipe's ends or a terminal's, with a stream to `target`, and waits for the stream's end.
    ///
    /// - Throws: ``StreamFailure`` if the stream cannot be opened, or breaks off.
    public func connect(_ target: TargetAddress, input: CInt, output: CInt) async throws {
        let core = self.core
        let logger = self.logger
        let ended = self.loop.makePromise(of: Void.self)
        let channel: any Channel
        do {
            channel = try await NIOPipeBootstrap(group: self.loop)
                .channelOption(.allowRemoteHalfClosure, value: true)
                .channelOption(.autoRead, value: false)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let handler = ForwardHandler(
                            ProxyRequest(target, credentials: nil),
                            core: core.value,
                            logger: logger
                        ) { ended.completeWith($0) }
                        try channel.pipeline.syncOperations.addHandler(handler)
                    }
                }
                .takingOwnershipOfDescriptors(input: input, output: output)
                .get()
        } catch {
            ended.fail(error)
            try await ended.futureResult.get()
            return
        }
        defer { channel.close(promise: nil) }
        try await ended.futureResult.get()
    }

    /// Opens a stream for code of this program; returns as soon as the exit connected its target.
    ///
    /// - Throws: ``StreamFailure`` if it cannot be opened.
    public func open(_ target: TargetAddress) async throws -> TunnelStream {
        let core = self.core
        let logger = self.logger
        let result = self.loop.makePromise(of: TunnelStream.self)
        self.loop.execute {
            let holder = OpeningHolder()
            let opening = StreamOpening(
                ProxyRequest(target, credentials: nil),
                core: core.value,
                logger: logger,
                onOpened: {
                    if let stream = holder.opening?.makeStream() {
                        result.succeed(stream)
                    } else {
                        result.fail(StreamFailure(.connectionReset))
                    }
                    holder.opening = nil
                },
                onFailed: {
                    holder.opening = nil
                    result.fail(StreamFailure(hop: $0.hop, reason: $0.text))
                }
            )
            holder.opening = opening
            opening.start()
        }
        return try await result.futureResult.get()
    }

    /// Opens a stream and closes it again. Returns how long that took, from asking to the exit's word that its target is
    /// connected.
    ///
    /// - Throws: ``StreamFailure`` if it cannot be opened.
    public func probe(_ target: TargetAddress) async throws -> TimeAmount {
        let core = self.core
        let logger = self.logger
        let result = self.loop.makePromise(of: TimeAmount.self)
        self.loop.execute {
            let startedAt = NIODeadline.now()
            let holder = OpeningHolder()
            let opening = StreamOpening(
                ProxyRequest(target, credentials: nil),
                core: core.value,
                logger: logger,
                onOpened: {
                    holder.opening?.abandon()
                    holder.opening = nil
                    result.succeed(NIODeadline.now() - startedAt)
                },
                onFailed: {
                    holder.opening = nil
                    result.fail(StreamFailure(hop: $0.hop, reason: $0.text))
                }
            )
            holder.opening = opening
            opening.start()
        }
        return try await result.futureResult.get()
    }

    /// Keeps an opening until it is answered.
    private final class OpeningHolder {
        var opening: StreamOpening?
    }

    /// Stops listening, lets streams finish for up to `patience`, then tells the exits and closes everything.
    public func stop(patience: TimeAmount = .zero) async throws {
        for listener in self.listeners { try? await listener.close() }
        let core = self.core
        let connections = self.connections
        try await self.loop.flatSubmit { core.value.drain(patience: patience) }.get()
        try await self.loop.submit {
            core.value.stop()
            connections.value.closeAll()
            core.value.reverseConnections.closeAll()
        }.get()
        // What was written is flushed at the end of the loop's turn; whoever ends the process now loses no last word.
        try await self.loop.submit {}.get()
    }
}
