//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

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

    var name: String { self.exit.name.encoded }

    static func start(
        backendPort: Int,
        exitChange: (inout ExitConfiguration) -> Void = { _ in },
        entryChange: (inout EntryConfiguration) -> Void = { _ in }
    ) async throws -> WholeTunnel {
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let group = MultiThreadedEventLoopGroup.singleton
        let relay = try await RelayServer.start(
            RelayConfiguration(host: "127.0.0.1", port: 0),
            on: group,
            logger: logger
        )
        var exitConfiguration = ExitConfiguration(
            secretKey: .generate(),
            relays: [try RelayURL(relay.url)],
            backend: ExitConfiguration.Backend(host: "127.0.0.1", port: backendPort)
        )
        exitChange(&exitConfiguration)
        let exit = try await ExitService.start(exitConfiguration, on: group.next(), logger: logger)
        try await exit.ready()
        var entryConfiguration = EntryConfiguration()
        entryConfiguration.port = 0
        entryChange(&entryConfiguration)
        let entry = try await EntryService.start(entryConfiguration, on: group.next(), logger: logger)
        return WholeTunnel(relay: relay, exit: exit, entry: entry)
    }

    func stop() async throws {
        try await self.entry.stop()
        try await self.exit.stop()
        try await self.relay.stop()
    }
}

@Suite("Relay, exit and entry together", .timeLimit(.minutes(2)))
struct WholeTunnelTests {
    static func pattern(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
    }

    @Test("bytes come back, in order, and the end is the end", arguments: [1, 30_555, 30_556, 2_000_000])
    func echo(count: Int) async throws {
        let server = try await EchoServer.start()
        let tunnel = try await WholeTunnel.start(backendPort: server.port)
        let bytes = Self.pattern(count)
        let back = try await SOCKSClient.connect(
            proxy: tunnel.entry.localAddress,
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

    @Test("many streams at once keep apart")
    func manyStreams() async throws {
        let server = try await EchoServer.start()
        let tunnel = try await WholeTunnel.start(backendPort: server.port)
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for index in 0..<50 {
                group.addTask {
                    let bytes = Self.pattern(10_000 + index)
                    return try await SOCKSClient.connect(
                        proxy: tunnel.entry.localAddress,
                        domain: tunnel.name,
                        port: UInt16(index)
                    ) { _, inbound, outbound in
                        try await outbound.write(ByteBuffer(bytes: bytes))
                        return try await inbound.read(bytes.count) == bytes
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
            proxy: tunnel.entry.localAddress,
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
            proxy: tunnel.entry.localAddress,
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
            proxy: tunnel.entry.localAddress,
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
            proxy: entry.localAddress,
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
            $0.allowsLocalRelays = false
            $0.relayPatience = .milliseconds(200)
        }
        let reply = try await SOCKSClient.connect(
            proxy: tunnel.entry.localAddress,
            domain: tunnel.name,
            port: 80
        ) { reply, _, _ in reply }
        #expect(reply == SOCKS5Reply.hostUnreachable.rawValue)
        try await tunnel.stop()
        try await server.stop()
    }
}
