//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Logging
import NIOCore
import NIOPosix
import Nostr
import NostrClient
import NostrCrypto
import Testing

@testable import NostrRelay
@testable import Tunnel
@testable import nws

/// Every option that is marked as reloadable is given another value, and the running role must have it afterwards.
@Suite("Reloadable options")
struct ReloadTests {
    private static let key = String(repeating: "01", count: 32)
    private static let npub = SecretKey.generate().publicKey.npub
    private static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// Arguments that change an option.
    private static let changes: [String: [String]] = [
        "relay": ["--relay", "ws://127.0.0.1:2"],
        "exit": ["--exit", npub],
        "advertise": ["--advertise", "ws://relay.example"],
        "service": ["--service", "22=127.0.0.1:22"],
        "backend": ["--backend", "127.0.0.1:2"],
        "allow": ["--allow", npub],
        "rule": ["--rule", "allow port 80"],
        "max-sessions": ["--max-sessions", "7"],
        "max-streams": ["--max-streams", "7"],
        "max-handshakes-per-second": ["--max-handshakes-per-second", "7"],
        "max-streams-per-second": ["--max-streams-per-second", "7"],
        "max-streams-per-client": ["--max-streams-per-client", "7"],
        "max-connects-per-second": ["--max-connects-per-second", "7"],
        "max-rate-per-client": ["--max-rate-per-client", "7000"],
        "max-rate": ["--max-rate", "7000"],
        "name": ["--name", "other"],
        "tunnel-only": ["--tunnel-only"],
        "max-event-length": ["--max-event-length", "4096"],
        "max-subscriptions": ["--max-subscriptions", "7"],
        "max-filters": ["--max-filters", "7"],
        "max-events-per-second": ["--max-events-per-second", "7"],
        "max-outbound-bytes": ["--max-outbound-bytes", "70000"],
        "max-connections": ["--max-connections", "7"],
        "max-connections-per-address": ["--max-connections-per-address", "7"],
        "max-stored-events": ["--max-stored-events", "7"],
    ]

    /// The names of a role's reloadable options.
    private static func reloadable(_ role: String) -> [String] {
        ((try? OptionCatalog())?.command(of: [role]).command.reloadable ?? []).sorted()
    }

    private static func settings() throws -> Settings {
        try Settings(environment: ["NOSTR_PRIVATE_KEY": Self.key], dotEnv: "/nonexistent/.env")
    }

    /// The parts of a configuration, in an order that does not depend on hashing.
    private static func lines(_ value: some Any) -> [String] {
        var text = ""
        dump(value, to: &text)
        return text.split(separator: "\n").map(String.init).sorted()
    }

    @Test("an exit takes each of them", arguments: Self.reloadable("exit"))
    func exit(option: String) async throws {
        let change = try #require(Self.changes[option])
        let common = ["--relay", "ws://127.0.0.1:1", "--backend", "127.0.0.1:1", "--public"]
        let (before, after) = (try Self.exit(common), try Self.exit(common + change))
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let (effective, expected) = try await loop.submit {
            let exit = try Exit(
                configuration: before,
                loop: loop,
                logger: Self.logger,
                firstRelay: loop.makePromise()
            )
            exit.update(after)
            defer { exit.stop() }
            return (Self.lines(exit.configuration), Self.lines(after))
        }.get()
        #expect(Self.lines(before) != expected)
        #expect(effective == expected)
    }

    private static func exit(_ arguments: [String]) throws -> ExitConfiguration {
        var configuration = try ExitCommand.parse(arguments).makeConfiguration(Self.settings(), logger: Self.logger)
        configuration.replayFile = nil
        return configuration
    }

    @Test("an entry takes each of them", arguments: Self.reloadable("entry"))
    func entry(option: String) async throws {
        let change = try #require(Self.changes[option])
        let (before, after) = (try Self.entry(["--relay", "ws://127.0.0.1:1"]), try Self.entry(change))
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let (effective, expected) = try await loop.submit {
            let entry = try Entry(
                configuration: before,
                loop: loop,
                logger: Self.logger
            )
            entry.update(after)
            defer { entry.stop() }
            return (Self.lines(entry.configuration), Self.lines(after))
        }.get()
        #expect(Self.lines(before) != expected)
        #expect(effective == expected)
        #expect(Self.reloadable("forward") == Self.reloadable("entry"))
    }

    private static func entry(_ arguments: [String]) throws -> EntryConfiguration {
        var configuration = try EntryCommand.parse(arguments).makeConfiguration(Self.settings(), logger: Self.logger)
        configuration.pinsFile = nil
        return configuration
    }

    /// The certificate and its key are in files that are read again; `test_tls.py` renews them.
    private static let files: Set<String> = ["tls-cert", "tls-key"]

    @Test("a relay takes each of them", arguments: Self.reloadable("relay").filter { !Self.files.contains($0) })
    func relay(option: String) async throws {
        let change = try #require(Self.changes[option])
        let common = ["--listen", "127.0.0.1:0"]
        let (before, after) = (try Self.relay(common), try Self.relay(common + change))
        let relay = try await RelayServer.start(before, on: MultiThreadedEventLoopGroup.singleton, logger: Self.logger)
        try await RelayCommand.reload(relay, after, logger: Self.logger)
        #expect(Self.lines(before) != Self.lines(after))
        #expect(Self.lines(relay.configuration) == Self.lines(after))
        try await relay.stop()
    }

    private static func relay(_ arguments: [String]) throws -> RelayConfiguration {
        try RelayCommand.parse(arguments).makeConfiguration(Self.settings(), logger: Self.logger)
    }
}
