//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
public import Logging
public import NIOCore
import NIOPosix
import Nostr

/// A SOCKS5, SOCKS4a and HTTP proxy to `.nostr` names, all on one port.
public final class EntryService: Sendable {
    private let core: NIOLoopBound<EntryCore>
    private let channel: any Channel
    private let loop: any EventLoop
    private let quiescing: NIOLoopBound<ConnectionSet>

    /// The address that was bound.
    public let localAddress: SocketAddress

    private init(
        core: NIOLoopBound<EntryCore>,
        channel: any Channel,
        loop: any EventLoop,
        connections: NIOLoopBound<ConnectionSet>,
        localAddress: SocketAddress
    ) {
        self.core = core
        self.channel = channel
        self.loop = loop
        self.quiescing = connections
        self.localAddress = localAddress
    }

    /// Binds and serves, all on `loop`.
    ///
    /// - Throws: The system's error if the port cannot be had.
    public static func start(
        _ configuration: EntryConfiguration,
        on loop: any EventLoop,
        logger: Logger
    ) async throws -> EntryService {
        let addresses = try await HostResolver().resolve(host: configuration.host, port: configuration.port, on: loop)
            .get()
        guard let address = addresses.first else { throw ChannelError.unknownLocalAddress }
        let isLoopback = AddressClass(address) == .loopback
        let (core, connections) = try await loop.submit {
            let core = try EntryCore(
                configuration: configuration,
                listensOnLoopback: isLoopback,
                loop: loop,
                logger: logger
            )
            return (
                NIOLoopBound(core, eventLoop: loop),
                NIOLoopBound(ConnectionSet(limit: configuration.maximumConnections), eventLoop: loop)
            )
        }.get()
        let channel = try await ServerBootstrap(group: loop)
            .serverChannelOption(.backlog, value: 1_024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.autoRead, value: false)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelInitializer { channel in
                guard connections.value.add(channel) else {
                    logger.warning("too many connections")
                    return channel.eventLoop.makeFailedFuture(ChannelError.eof)
                }
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        ProxyProtocolDetector(core: core.value, logger: logger)
                    )
                }
            }
            .bind(to: address)
            .get()
        guard let localAddress = channel.localAddress else { throw ChannelError.unknownLocalAddress }
        try await loop.submit { core.value.start() }.get()
        return EntryService(
            core: core,
            channel: channel,
            loop: loop,
            connections: connections,
            localAddress: localAddress
        )
    }

    /// Stops listening, tells the exits, and closes everything.
    public func stop() async throws {
        try? await self.channel.close()
        let core = self.core
        let connections = self.quiescing
        try await self.loop.submit {
            core.value.stop()
            connections.value.closeAll()
        }.get()
    }
}

/// The open connections of a listener, on its loop.
final class ConnectionSet {
    private let limit: Int
    private var channels: [ObjectIdentifier: any Channel] = [:]

    init(limit: Int) {
        self.limit = limit
    }

    /// Adds a channel until it closes; false if there are too many.
    func add(_ channel: any Channel) -> Bool {
        guard self.channels.count < self.limit else { return false }
        let id = ObjectIdentifier(channel)
        self.channels[id] = channel
        let bound = NIOLoopBound(self, eventLoop: channel.eventLoop)
        channel.closeFuture.whenComplete { _ in bound.value.channels[id] = nil }
        return true
    }

    func closeAll() {
        for channel in self.channels.values { channel.close(promise: nil) }
    }
}
