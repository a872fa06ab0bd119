//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore
import NIOPosix
import Nostr
import NostrCrypto
import NostrRelay
import TestSupport
import Testing
import Tunnel
import TunnelProtocol

/// A relay, an exit and an entry in this process, on free ports.
struct WholeTunnel: Sendable {
    let relay: RelayServer
    let exit: ExitService
    let entry: EntryService

    let entryAddress: SocketAddress

    var name: String { self.exit.name.encoded }

    static func start(
        backendPort: Int,
        exitChange: (inout ExitConfiguration) -> Void = { _ in },
        entryChange: (inout EntryConfiguration) -> Void = { _ in },
        relayChange: (inout RelayConfiguration) -> Void = { _ in }
    ) async throws -> WholeTunnel {
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let group = MultiThreadedEventLoopGroup.singleton
        var relayConfiguration = RelayConfiguration(host: "127.0.0.1", port: 0)
        relayChange(&relayConfiguration)
        let relay = try await RelayServer.start(
            relayConfiguration,
            on: group,
            logger: logger
        )
        var exitConfiguration = ExitConfiguration(
            secretKey: .generate(),
            relays: [try RelayURL(relay.url)],
            services: ExitServices(fallback: .tcp(host: "127.0.0.1", port: backendPort))
        )
        exitChange(&exitConfiguration)
        let exit = try await ExitService.start(exitConfiguration, on: group.next(), logger: logger)
        try await exit.ready()
        var entryConfiguration = EntryConfiguration()
        entryConfiguration.port = 0
        entryConfiguration.allowsLocalRelays = true
        entryChange(&entryConfiguration)
        let entry = try await EntryService.start(entryConfiguration, on: group.next(), logger: logger)
        let address = try #require(entry.proxyAddress)
        return WholeTunnel(relay: relay, exit: exit, entry: entry, entryAddress: address)
    }

    func stop() async throws {
        try await self.entry.stop()
        try await self.exit.stop()
        try await self.relay.stop()
    }
}

@Suite("Relay, exit and entry together", .timeLimit(.minutes(10)))
struct WholeTunnelTests {
    static func pattern(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
    }

    @Test("an echo returns all bytes in order and then ends", arguments: [1, 30_555, 30_556, 2_000_000])
    func echo(count: Int) async throws {
        let server = try await EchoServer.start()
        let tunnel = try await WholeTunnel.start(backendPort: server.port)
        let bytes = Self.pattern(count)
        let back = try await SOCKSClient.connect(
            proxy: tunnel.entryAddress,
            domain: tunnel.name,
            port: 80
        ) { reply, inbound, outbound in
            #expect(reply == 0)
            try await outbound.write(ByteBuffer(bytes: bytes))
            let echoed = try await inbound.read(bytes.count)
            outbound.finish()
            #expect(try await inbound.readToEnd().isEmpty)
            return echoed
        }
        #expect(back == bytes)
        try await tunnel.stop()
        try await server.stop()
    }

    @Test("concurrent streams do not mix")
    func manyStreams() async throws {
        let server = try await EchoServer.start()
        let tunnel = try await WholeTunnel.start(backendPort: server.port)
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for index in 0..<50 {
                group.addTask {
                    let bytes = Self.pattern(10_000 + index)
                    return try await SOCKSClient.connect(
                        proxy: tunnel.entryAddress,
                        domain: tunnel.name,
                        port: UInt16(index)
                    ) { reply, inbound, outbound in
                        #expect(reply == 0)
                        try await outbound.write(ByteBuffer(bytes: bytes))
                        let back = try await inbound.read(bytes.count)
                        #expect(back.count == bytes.count)
                        return back == bytes
                    }
                }
            }
            for try await isEqual in group { #expect(isEqual) }
        }
        try await tunnel.stop()
        try await server.stop()
    }

    @Test("a backend that refuses is SOCKS reply 5")
    func refusedBackend() async throws {
        let server = try await EchoServer.start()
        try await server.stop()
        let tunnel = try await WholeTunnel.start(backendPort: server.port)
        let reply = try await SOCKSClient.connect(
            proxy: tunnel.entryAddress,
            domain: tunnel.name,
            port: 80
        ) { reply, _, _ in reply }
        #expect(reply == SOCKS5Reply.connectionRefused.rawValue)
        try await tunnel.stop()
    }

    @Test(
        "what cannot be reached is refused with the right reply",
        arguments: [("example.com", SOCKS5Reply.notAllowed), ("nonsense.nostr", .hostUnreachable)]
    )
    func refusedTargets(domain: String, expected: SOCKS5Reply) async throws {
        let tunnel = try await WholeTunnel.start(backendPort: 1)
        let reply = try await SOCKSClient.connect(
            proxy: tunnel.entryAddress,
            domain: domain,
            port: 80
        ) { reply, _, _ in reply }
        #expect(reply == expected.rawValue)
        try await tunnel.stop()
    }

    @Test("a name without relays uses the configured ones, and fails without")
    func bareName() async throws {
        let server = try await EchoServer.start()
        let tunnel = try await WholeTunnel.start(backendPort: server.port)
        let npub = tunnel.exit.name.publicKey.npub
        let without = try await SOCKSClient.connect(
            proxy: tunnel.entryAddress,
            domain: npub,
            port: 80
        ) { reply, _, _ in reply }
        #expect(without == SOCKS5Reply.hostUnreachable.rawValue)

        var configuration = EntryConfiguration()
        configuration.port = 0
        configuration.relays = [try RelayURL(tunnel.relay.url)]
        let entry = try await EntryService.start(
            configuration,
            on: MultiThreadedEventLoopGroup.singleton.next(),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        let with = try await SOCKSClient.connect(
            proxy: try #require(entry.proxyAddress),
            domain: npub,
            port: 80
        ) { reply, _, _ in reply }
        #expect(with == 0)
        try await entry.stop()
        try await tunnel.stop()
        try await server.stop()
    }

    @Test("relays in names are not dialled on private addresses when others are served")
    func hostileRelay() async throws {
        let server = try await EchoServer.start()
        let tunnel = try await WholeTunnel.start(backendPort: server.port) { _ in
        } entryChange: {
            $0.allowsLocalRelays = nil
            $0.relayConnectTimeout = .milliseconds(200)
        }
        let reply = try await SOCKSClient.connect(
            proxy: tunnel.entryAddress,
            domain: tunnel.name,
            port: 80
        ) { reply, _, _ in reply }
        #expect(reply == SOCKS5Reply.hostUnreachable.rawValue)
        try await tunnel.stop()
        try await server.stop()
    }

    /// The reply to a request through a fresh entry.
    static func reply(
        for domain: String,
        change: (inout EntryConfiguration) -> Void = { _ in }
    ) async throws -> UInt8 {
        var configuration = EntryConfiguration()
        configuration.port = 0
        configuration.allowsLocalRelays = true
        change(&configuration)
        let entry = try await EntryService.start(
            configuration,
            on: MultiThreadedEventLoopGroup.singleton.next(),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        let reply = try await SOCKSClient.connect(
            proxy: try #require(entry.proxyAddress),
            domain: domain,
            port: 80
        ) { reply, _, _ in reply }
        try await entry.stop()
        return reply
    }

    @Test("a dead relay in a name stops nothing, in either place", arguments: [true, false])
    func deadRelayInName(deadFirst: Bool) async throws {
        let server = try await EchoServer.start()
        let tunnel = try await WholeTunnel.start(backendPort: server.port)
        let dead = try RelayURL("ws://127.0.0.1:1")
        let live = try RelayURL(tunnel.relay.url)
        let name = NostrName(
            publicKey: tunnel.exit.name.publicKey,
            relays: deadFirst ? [dead, live] : [live, dead]
        )
        #expect(try await Self.reply(for: name.encoded) == 0)
        try await tunnel.stop()
        try await server.stop()
    }

    @Test("a relay where the exit does not listen stops nothing")
    func uselessRelayInName() async throws {
        let server = try await EchoServer.start()
        let tunnel = try await WholeTunnel.start(backendPort: server.port)
        let other = try await RelayServer.start(
            RelayConfiguration(host: "127.0.0.1", port: 0),
            on: MultiThreadedEventLoopGroup.singleton,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        let name = NostrName(
            publicKey: tunnel.exit.name.publicKey,
            relays: [try RelayURL(other.url), try RelayURL(tunnel.relay.url)]
        )
        let entry = tunnel.entry
        let echoed = try await SOCKSClient.connect(
            proxy: try #require(entry.proxyAddress),
            domain: name.encoded,
            port: 80
        ) { _, inbound, outbound in
            try await outbound.write(ByteBuffer(bytes: [1, 2, 3]))
            return try await inbound.read(3)
        }
        #expect(echoed == [1, 2, 3])
        try await other.stop()
        try await tunnel.stop()
        try await server.stop()
    }

    @Test("a bare npub is found through the list of relays that its owner published")
    func relayList() async throws {
        let server = try await EchoServer.start()
        let key = SecretKey.generate()
        let tunnel = try await WholeTunnel.start(backendPort: server.port) { $0.secretKey = key }
        let index = try await RelayServer.start(
            RelayConfiguration(host: "127.0.0.1", port: 0),
            on: MultiThreadedEventLoopGroup.singleton,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        let list = try Event.signed(
            by: key,
            createdAt: 1_700_000_000,
            kind: .relayList,
            tags: [
                Nostr.Tag("r", "wss://write.example", "write"), Nostr.Tag("r", ByteString(tunnel.relay.url), "read"),
            ],
            content: ByteBuffer()
        )
        #expect(try await Self.publish(list, to: index))
        let reply = try await Self.reply(for: key.publicKey.npub) {
            $0.relays = [try? RelayURL(index.url)].compactMap { $0 }
        }
        #expect(reply == 0)
        try await index.stop()
        try await tunnel.stop()
        try await server.stop()
    }

    /// Publishes an event and says whether the relay took it.
    static func publish(_ event: Event, to relay: RelayServer) async throws -> Bool {
        let (messages, continuation) = AsyncStream<ByteBuffer>.makeStream()
        let socket = try await WebSocketClient.connect(
            to: WebSocketClient.Target(
                addresses: [relay.localAddress],
                host: "127.0.0.1",
                authority: "127.0.0.1",
                requestTarget: "/",
                tls: nil
            ),
            on: MultiThreadedEventLoopGroup.singleton.next(),
            configuration: WebSocketConfiguration(),
            events: WebSocket.Events(onMessage: { continuation.yield($0) }, onClose: { _ in continuation.finish() })
        ).get()
        try await socket.eventLoop.submit { socket.sendText(ClientMessage.encodeEvent(event)) }.get()
        for await message in messages {
            if case .ok(event.id, let accepted, _) = try RelayMessage.parse(message) {
                try await socket.eventLoop.submit { socket.close() }.get()
                return accepted
            }
        }
        return false
    }

    @Test("plain streams whose clients say nothing make room for others")
    func silentPlainStreams() async throws {
        let server = try await EchoServer.start()
        let tunnel = try await WholeTunnel.start(backendPort: server.port) {
            $0.maximumPlainStreams = 4
            $0.silentStreamAge = .zero
        } entryChange: {
            $0.protocolChoice = .nip74
        }
        let (address, name) = (tunnel.entryAddress, tunnel.name)
        try await withThrowingTaskGroup(of: Void.self) { group in
            // As many as fit. Later ones could take the place of the client below before it has sent anything.
            for _ in 0..<4 {
                group.addTask {
                    _ = try? await SOCKSClient.connect(proxy: address, domain: name, port: 80) { _, inbound, _ in
                        _ = try? await inbound.readToEnd()
                    }
                }
            }
            await server.connected(4)
            try await SOCKSClient.connect(proxy: address, domain: name, port: 80) { reply, inbound, outbound in
                #expect(reply == 0)
                try await outbound.write(ByteBuffer(bytes: [1, 2, 3]))
                #expect(try await inbound.read(3) == [1, 2, 3])
            }
            group.cancelAll()
        }
        try await tunnel.stop()
        try await server.stop()
    }
}
