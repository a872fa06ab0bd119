//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto
import Testing

@testable import nws

@Suite("Options that cannot be used")
struct InvalidOptionsTests {
    private static let npub = SecretKey.generate().publicKey.npub

    /// Checks that the program rejects its configuration with status 78 and a message.
    private static func expectConfigurationError(_ arguments: [String], _ message: String) throws {
        let refusal = try #require(try Invocation(arguments).refusal())
        #expect(refusal.status == 78)
        #expect(refusal.message.contains(message))
    }

    // MARK: Exit

    @Test(
        "an exit needs a relay and a service",
        arguments: [
            (["--backend", "127.0.0.1:9"], "--relay"), (["--relay", "ws://127.0.0.1:9"], "--backend"),
            (["--relay", "ws://127.0.0.1:9", "--backend", "127.0.0.1"], "no port"),
            (["--relay", "ws://127.0.0.1:9", "--backend", "127.0.0.1:0"], "port"),
            (["--relay", "ftp://127.0.0.1", "--backend", "127.0.0.1:9"], "--relay"),
        ]
    )
    func exitNeeds(options: [String], message: String) throws {
        try Self.expectConfigurationError(["exit"] + options, message)
    }

    @Test(
        "an option without effect, or one that contradicts another, is refused",
        arguments: [
            (["--rule", "allow port 1"], "--rule has no effect without --public"),
            (["--unannounced"], "--unannounced has no effect without --public"),
            (["--max-streams-per-client", "1"], "--max-streams-per-client has no effect without --public"),
            (["--max-rate", "1"], "--max-rate has no effect without --public"),
            (["--allow-local-addresses"], "--allow-local-addresses has no effect without --reverse-connections"),
            (["--reverse-connections", "--protocol", "session"], "--reverse-connections requires plain NIP-74"),
            (["--allow", "NPUB", "--protocol", "nip74"], "--allow cannot be used with --protocol nip74"),
            (["--allow", "NPUB", "--reverse-connections"], "cannot be used with --allow"),
            (["--port", "80"], "--port and --target must be given together"),
            (["--service", "22=127.0.0.1:1", "22=127.0.0.1:2"], "port 22 is given more than once"),
            (["--advertise", "ws://127.0.0.1:8=wss://relay.example"], "is not one of the relays"),
        ]
    )
    func exitContradictions(options: [String], message: String) throws {
        let common = ["exit", "--relay", "ws://127.0.0.1:9", "--backend", "127.0.0.1:9"]
        try Self.expectConfigurationError(common + options.map { $0 == "NPUB" ? Self.npub : $0 }, message)
    }

    @Test(
        "a value that is out of range or has the wrong form is refused",
        arguments: [
            (["--public", "--rule", "allow everything"], "--rule 'allow everything'"),
            (["--public", "--max-streams-per-client", "0"], "--max-streams-per-client"),
            (["--max-sessions", "0"], "--max-sessions: must be between 1 and 1000000"),
            (["--session-timeout", "0"], "--session-timeout"),
            (["--stream-idle-timeout=-1"], "--stream-idle-timeout"),
            (["--service", "ssh=127.0.0.1:22"], "--service: ssh=127.0.0.1:22"),
            (["--service", "22=unix:relative"], "absolute path"), (["--advertise", "ftp://x"], "--advertise"),
            (["--relay-proxy", "http://127.0.0.1:9050"], "--relay-proxy"),
            (["--ca-file", "/nonexistent/ca.pem"], "--ca-file"), (["--allow", "nonexistent"], "--allow"),
        ]
    )
    func exitValues(options: [String], message: String) throws {
        let common = ["exit", "--relay", "ws://127.0.0.1:9", "--backend", "127.0.0.1:9"]
        try Self.expectConfigurationError(common + options, message)
    }

    // MARK: Entry and forward

    @Test(
        "an entry says which option is wrong",
        arguments: [
            (["--public-exits"], "--relay"), (["--exit", "nonsense"], "--exit: nonsense"),
            (["--listen", "8882"], "--listen"), (["--listen", "::1:8882"], "in brackets"),
            (["--max-connections", "0"], "--max-connections"), (["--relay", "ftp://x"], "--relay"),
        ]
    )
    func entry(options: [String], message: String) throws {
        try Self.expectConfigurationError(["entry"] + options, message)
    }

    @Test(
        "a forward that can reach nothing is refused",
        arguments: [
            ("foo:22", "not a .nostr name"), ("NPUB:22", "has no relays"), ("NPUB:0", "the port must be"),
            ("NPUB", "no port"), ("nonsense.nostr:22", "nonsense.nostr"),
        ]
    )
    func forward(target: String, message: String) throws {
        let target = target.replacing("NPUB", with: Self.npub)
        try Self.expectConfigurationError(["forward", "127.0.0.1:0", target], message)
    }

    // MARK: Relay

    @Test("a relay with TLS needs a certificate and a key that only few can read")
    func relayTLS() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let certificate = ["--tls-cert", try folder.write("server.pem", "nonsense\n", mode: 0o644)]
        let key = ["--tls-key", try folder.write("server.key", "nonsense\n")]
        let open = ["--tls-key", try folder.write("open.key", "nonsense\n", mode: 0o644)]
        let relay = ["relay"]
        try Self.expectConfigurationError(relay + certificate, "must be given together")
        try Self.expectConfigurationError(relay + key, "must be given together")
        try Self.expectConfigurationError(relay + certificate + key, "must contain a certificate")
        try Self.expectConfigurationError(relay + certificate + open, "is accessible by all users")
        let missing = ["--tls-key", folder.file("none.key")]
        try Self.expectConfigurationError(relay + certificate + missing, "cannot read")
    }

    @Test(
        "a relay says which option is wrong",
        arguments: [
            (["--listen", "7777"], "--listen"), (["--public-url", "ftp://x"], "--public-url"),
            (["--trusted-proxy", "10.0.0.0/33"], "--trusted-proxy"),
        ]
    )
    func relay(options: [String], message: String) throws {
        try Self.expectConfigurationError(["relay"] + options, message)
    }
}
