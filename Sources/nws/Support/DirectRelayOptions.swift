//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Logging
import NIOCore
import NIOPosix
import Nostr
import NostrCrypto
import NostrRelay
import Tunnel

/// Options of a node that can be reached: it runs a relay for its own sessions.
struct DirectRelayOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Run a relay here for this node's sessions, so that they may go past all others. Peers that want it learn this address.",
            valueName: "host:port"
        )
    )
    var directListen: String?

    @Option(
        help: ArgumentHelp(
            "With --direct-listen: where peers reach that relay, if it is not the address that it listens on.",
            valueName: "url"
        )
    )
    var directURL: String?

    /// Checks the options.
    func validated() throws {
        guard let directListen else {
            guard self.directURL == nil else {
                throw CommandError.configuration("--direct-url does nothing without --direct-listen")
            }
            return
        }
        let address = try HostAndPort(directListen, source: "--direct-listen")
        if let directURL {
            _ = try Settings.relay(directURL, source: "--direct-url")
        } else if ["0.0.0.0", "::"].contains(address.host) {
            throw CommandError.configuration(
                "--direct-listen: \(directListen) is no address that peers can dial; give --direct-url ws://HOST:PORT"
            )
        }
    }

    /// Starts the relay, if one is wanted. It lasts as long as the process, so that streams that finish have it.
    func start(logger: Logger) async throws -> DirectRelay? {
        guard let directListen else { return nil }
        let address = try HostAndPort(directListen, source: "--direct-listen")
        var configuration = RelayConfiguration(host: address.host, port: address.port)
        configuration.name = "nws direct path"
        configuration.summary = "A relay for one node's sessions"
        configuration.acceptedKinds = [.tunnelMessage]
        configuration.limits.connections = Self.maximumConnections
        configuration.limits.connectionsPerAddress = Self.maximumConnectionsPerAddress
        configuration.limits.outboundBytes = Self.maximumOutboundBytes
        configuration.limits.storedEvents = 0
        // Strangers reach this node by it, and not each other.
        let ownerPath = "/\(Bytes32.random().hex)"
        configuration.ownerPath = ownerPath
        let server: RelayServer
        do {
            server = try await RelayServer.start(
                configuration,
                on: MultiThreadedEventLoopGroup.singleton,
                logger: logger
            )
        } catch {
            throw ProcessSetup.bindError(error, address: directListen)
        }
        let port = server.localAddress.port ?? address.port
        let isEverywhere = ["0.0.0.0", "::"].contains(address.host)
        let reached = isEverywhere ? "ws://127.0.0.1:\(port)" : server.url
        let own = try RelayURL(reached + ownerPath)
        let offered = try self.directURL.map { try Settings.relay($0, source: "--direct-url") } ?? RelayURL(reached)
        logger.info("direct path", metadata: ["listen": "\(server.localAddress.shown)", "offered": "\(offered)"])
        Console.line("direct: \(offered)")
        return DirectRelay(own: own, offered: offered)
    }

    /// Connections of peers at once.
    private static let maximumConnections = 2_048
    private static let maximumConnectionsPerAddress = 16
    /// Bytes that wait for a slow reader.
    private static let maximumOutboundBytes = 8 << 20
}
