//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
package import Logging
package import NIOCore
import NIOPosix
import Nostr
import NostrCrypto
package import TunnelProtocol

/// Opens streams to exits for local clients. The clients use a proxy that supports SOCKS5, SOCKS4a and HTTP on one
/// port, local ports that are forwarded to one target each, or the methods of this class.
package final class EntryService: Sendable {
    private let entry: NIOLoopBound<Entry>
    private let listeners: [any Channel]
    private let loop: any EventLoop
    private let connections: NIOLoopBound<ConnectionSet>

    /// The address of the proxy; nil if there is none.
    package let proxyAddress: SocketAddress?
    /// The addresses of the forwarded ports, in the order of the configuration.
    package let forwardAddresses: [SocketAddress]

    private init(
        entry: NIOLoopBound<Entry>,
        listeners: [any Channel],
        loop: any EventLoop,
        connections: NIOLoopBound<ConnectionSet>,
        proxyAddress: SocketAddress?,
        forwardAddresses: [SocketAddress]
    ) {
        self.entry = entry
        self.listeners = listeners
        self.loop = loop
        self.connections = connections
        self.proxyAddress = proxyAddress
        self.forwardAddresses = forwardAddresses
    }

    /// Starts an entry on `loop`.
    ///
    /// - Throws: An `IOError` if a port cannot be bound, ``NotLoopbackError``, or an error if the file of pinned exits
    ///   cannot be read.
    package static func start(
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
        let (core, connections) = try await loop.submit {
            let core = try Entry(
                configuration: configuration,
                loop: loop,
                logger: logger
            )
            // Start before a client can connect.
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
                listeners.append(try await Self.bind(address, to: target, core, connections, loop))
            }
        } catch {
            for listener in listeners { try? await listener.close() }
            try await loop.submit { core.value.stop() }.get()
            throw error
        }
        let bound = listeners.compactMap(\.localAddress)
        do {
            if let address = configuration.publicAddress {
                let idleTimeout = configuration.nip74.idleTimeout
                listeners.append(try await Self.bindReverse(Int(address.port), core, idleTimeout, loop))
            }
        } catch {
            for listener in listeners { try? await listener.close() }
            try await loop.submit { core.value.stop() }.get()
            throw error
        }
        return EntryService(
            entry: core,
            listeners: listeners,
            loop: loop,
            connections: connections,
            proxyAddress: configuration.servesProxy ? bound.first : nil,
            forwardAddresses: Array(bound.suffix(configuration.forwards.count))
        )
    }

    /// - Parameter target: The target of every connection; nil for a proxy.
    private static func bind(
        _ address: SocketAddress,
        to target: TargetAddress?,
        _ entry: NIOLoopBound<Entry>,
        _ connections: NIOLoopBound<ConnectionSet>,
        _ loop: any EventLoop
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
                    entry.value.metrics.reached(.connections)
                    return channel.eventLoop.makeFailedFuture(ChannelError.eof)
                }
                return channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let target {
                        let log = entry.value.clientLog
                        try pipeline.addHandler(ForwardHandler(target, opener: entry.value, logger: log))
                    } else {
                        try pipeline.addHandler(ProxyProtocolDetector(entry.value.proxyContext))
                    }
                }
            }
            .bind(to: address)
            .get()
    }

    /// Listens for connections of exits (CONNECTR), on every address as the reference implementation does. Anyone can
    /// connect to this port, so its limit on connections is separate from the limit on clients of the proxy.
    private static func bindReverse(
        _ port: Int,
        _ entry: NIOLoopBound<Entry>,
        _ idleTimeout: TimeAmount,
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
                guard entry.value.reverseConnections.add(channel) else {
                    entry.value.metrics.reached(.reverseConnections)
                    return channel.eventLoop.makeFailedFuture(ChannelError.eof)
                }
                return channel.eventLoop.makeCompletedFuture {
                    let stream = ReverseStream(
                        .entry { entry.value.reverseConnected($0, $1) },
                        idleTimeout: idleTimeout
                    )
                    try channel.pipeline.syncOperations.addHandler(stream)
                }
            }
        // Listen on both address families, or only on IPv4 if the system does not support IPv6.
        do {
            return try await bootstrap.bind(host: "::", port: port).get()
        } catch let error as IOError where error.errnoCode == EAFNOSUPPORT || error.errnoCode == EADDRNOTAVAIL {
            return try await bootstrap.bind(host: "0.0.0.0", port: port).get()
        }
    }

    /// The entry's relays, exits and streams.
    package func status() async throws -> TunnelStatus {
        let core = self.entry
        return try await self.loop.submit { core.value.status }.get()
    }

    /// Applies the parts of a configuration that can change while streams run: relays and exits.
    package func update(_ configuration: EntryConfiguration) async throws {
        let core = self.entry
        try await self.loop.submit { core.value.update(configuration) }.get()
    }

    /// Connects two file descriptors, such as the ends of pipes, to a stream to `target`. Returns when the stream has
    /// ended.
    ///
    /// - Throws: ``StreamFailure`` if the stream cannot be opened, or ends with an error.
    package func connect(_ target: TargetAddress, input: CInt, output: CInt) async throws {
        let core = self.entry
        let ended = self.loop.makePromise(of: Void.self)
        let channel: any Channel
        do {
            channel = try await NIOPipeBootstrap(group: self.loop)
                .channelOption(.allowRemoteHalfClosure, value: true)
                .channelOption(.autoRead, value: false)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let handler = ForwardHandler(target, opener: core.value, logger: core.value.clientLog) {
                            ended.completeWith($0.mapError { $0 as any Error })
                        }
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
        // The stream may end before all of its bytes are written to the output. The channel closes when they are
        // written.
        do {
            try await ended.futureResult.get()
        } catch {
            try? await channel.closeFuture.get()
            throw error
        }
        try await channel.closeFuture.get()
    }

    /// Opens a stream for the program's own code. Returns when the exit has connected to its target.
    ///
    /// - Throws: ``StreamFailure`` if it cannot be opened, or `CancellationError`.
    package func open(_ target: TargetAddress) async throws -> TunnelStream {
        let core = self.entry
        let result = self.loop.makePromise(of: TunnelStream.self)
        let pending = NIOLoopBoundBox.makeEmptyBox(valueType: StreamPromise.self, eventLoop: self.loop)
        self.loop.execute {
            pending.value = StreamPromise.open(target, opener: core.value, logger: core.value.clientLog) { opening in
                result.completeWith(
                    opening.flatMap { opening in
                        opening.makeStream().map(Result.success) ?? .failure(StreamFailure(.connectionReset))
                    }.mapError { $0 as any Error }
                )
            }
        }
        return try await withTaskCancellationHandler {
            try await result.futureResult.get()
        } onCancel: {
            self.loop.execute { if pending.value?.cancel() ?? false { result.fail(CancellationError()) } }
        }
    }

    /// The transcript of the session's handshake with an exit; nil if there is no session.
    func transcript(of exit: PublicKey) async throws -> SessionTranscript? {
        let core = self.entry
        return try await self.loop.submit { core.value.transcript(of: exit) }.get()
    }

    /// Opens a stream and closes it again. Returns the time from the request until the exit confirmed that its target is
    /// connected.
    ///
    /// - Throws: ``StreamFailure`` if it cannot be opened.
    package func probe(_ target: TargetAddress) async throws -> TimeAmount {
        let core = self.entry
        let result = self.loop.makePromise(of: TimeAmount.self)
        self.loop.execute {
            let startedAt = NIODeadline.now()
            StreamPromise.open(target, opener: core.value, logger: core.value.clientLog) { opening in
                result.completeWith(
                    opening.map { opening in
                        opening.abandon()
                        return NIODeadline.now() - startedAt
                    }.mapError { $0 as any Error }
                )
            }
        }
        return try await result.futureResult.get()
    }

    /// Stops listening, lets streams continue for up to `timeout`, and then notifies the exits and closes all
    /// connections.
    package func stop(timeout: TimeAmount = .zero) async throws {
        for listener in self.listeners { try? await listener.close() }
        let core = self.entry
        let connections = self.connections
        try await self.loop.flatSubmit { core.value.drain(timeout: timeout) }.get()
        try await self.loop.submit {
            core.value.stop()
            connections.value.closeAll()
        }.get()
        // Wait for the end of the event loop's turn, which flushes writes, because the process may exit after this
        // method returns.
        try await self.loop.submit {}.get()
    }
}
