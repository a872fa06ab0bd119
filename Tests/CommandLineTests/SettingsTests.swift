//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto
import Testing
import Tunnel

@testable import nws

@Suite("Sources of settings")
struct SettingsTests {
    private static let relay = "ws://127.0.0.1:1"
    private static let backend = "127.0.0.1:2"

    /// - Parameter absent: Number of sources without the setting, from the one with the highest priority.
    @Test(
        "an option wins over the environment, that over .env, that over the configuration file, that over the default",
        arguments: 0...4
    )
    func priority(absent: Int) throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let config = try folder.write("exit.yaml", absent < 4 ? "max-sessions: 4\n" : "log-level: info\n")
        let dotEnv = try folder.write(".env", absent < 3 ? "NWS_MAX_SESSIONS=3\n" : "# nothing\n")
        let arguments = ["exit", "--relay", Self.relay, "--backend", Self.backend, "--config", config]
        let configuration = try Invocation(
            arguments + (absent < 1 ? ["--max-sessions", "1"] : []),
            environment: absent < 2 ? ["NWS_MAX_SESSIONS": "2"] : [:],
            dotEnv: dotEnv
        ).configuration(of: ExitCommand.self)
        #expect(configuration.maximumSessions == [1, 2, 3, 4, 1_024][absent])
    }

    @Test(
        "relays and backend: an option wins over the environment, and that over .env",
        arguments: [(false, false, "dotenv"), (true, false, "environment"), (true, true, "option")]
    )
    func variablesOfTheReference(isInEnvironment: Bool, isOption: Bool, winner: String) throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let dotEnv = try folder.write(".env", "# settings\nNOSTR_RELAYS=ws://dotenv:1\nBACKEND_HOST=dotenv:2\n")
        let variables = ["NOSTR_RELAYS": "ws://environment:1", "BACKEND_HOST": "environment:2"]
        let configuration = try Invocation(
            ["exit"] + (isOption ? ["--relay", "ws://option:1", "--backend", "option:2"] : []),
            environment: isInEnvironment ? variables : [:],
            dotEnv: dotEnv
        ).configuration(of: ExitCommand.self)
        #expect(configuration.relays.map(\.text) == ["ws://\(winner):1"])
        #expect(configuration.services.fallback == Backend.tcp(host: winner, port: 2))
    }

    @Test("relays in the environment are separated by semicolons, for exits and entries")
    func severalRelays() throws {
        let environment = ["NOSTR_RELAYS": "ws://127.0.0.1:1; ws://127.0.0.1:2;"]
        let relays = ["ws://127.0.0.1:1", "ws://127.0.0.1:2"]
        let exit = try Invocation(["exit", "--backend", Self.backend], environment: environment)
            .configuration(of: ExitCommand.self)
        #expect(exit.relays.map(\.text) == relays)
        let entry = try Invocation(["entry"], environment: environment).configuration(of: EntryCommand.self)
        #expect(entry.relays.map(\.text) == relays)
    }

    @Test(
        "relays in the environment that are not URLs are a configuration error",
        arguments: ["exit", "entry"],
        ["http//nonsense", "ftp://127.0.0.1", "ws://"]
    )
    func invalidRelays(role: String, value: String) throws {
        let refusal = try #require(try Invocation([role], environment: ["NOSTR_RELAYS": value]).refusal())
        #expect(refusal.status == 78)
        #expect(refusal.message.contains("NOSTR_RELAYS"))
    }

    @Test("a public address is a host and a port", arguments: ["127.0.0.1", "127.0.0.1:0", "nowhere"])
    func invalidPublicAddress(value: String) throws {
        let refusal = try #require(try Invocation(["entry"], environment: ["PUBLIC_ADDRESS": value]).refusal())
        #expect(refusal.status == 78)
        #expect(refusal.message.contains("PUBLIC_ADDRESS"))
    }

    @Test("PUBLIC is true or false")
    func publicFlag() throws {
        func invocation(_ value: String) -> Invocation {
            Invocation(["exit", "--relay", Self.relay, "--backend", Self.backend], environment: ["PUBLIC": value])
        }
        #expect(try invocation("true").configuration(of: ExitCommand.self).policy != nil)
        #expect(try invocation("0").configuration(of: ExitCommand.self).policy == nil)
        let refusal = try #require(try invocation("perhaps").refusal())
        #expect(refusal.status == 78)
        #expect(refusal.message.contains("PUBLIC"))
    }

    // MARK: The .env file

    @Test("lines of other programs in .env are ignored and reported")
    func linesOfOthers() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let key = "TLS_KEY=\"-----BEGIN KEY-----\nMIIabc=\nHOST=127.0.0.1:1\n-----END KEY-----\"\n"
        let text = "what is this\n\(key)OPEN=\"never closed\nexport NOSTR_RELAYS=\"\(Self.relay)\" # ours\n"
        let dotEnv = try folder.write(".env", text)
        let settings = try Invocation([], dotEnv: dotEnv).settings()
        #expect(try settings.relays([]).map(\.text) == [Self.relay])
        #expect(
            settings.problems == [
                "\(dotEnv), line 1: expected NAME=value", "\(dotEnv), line 6: the quote is not closed",
            ]
        )
    }

    @Test(
        "an invalid line of .env that sets a variable of this program is a configuration error",
        arguments: [
            ("NWS_ALLOW=\"npub1\n", "line 1: the quote is not closed"),
            ("\nNWS_ALLOW\n", "line 2: expected NAME=value"),
            ("NOSTR_PRIVATE_KEY='x\n", "line 1: the quote is not closed"),
        ]
    )
    func ownInvalidLines(text: String, message: String) throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let dotEnv = try folder.write(".env", text)
        let refusal = try #require(try Invocation(["exit"], dotEnv: dotEnv).refusal())
        #expect(refusal.status == 78)
        #expect(refusal.message == "\(dotEnv), \(message)")
    }

    // MARK: The key

    @Test("the key in the environment is hexadecimal or an nsec, and a key file wins over it")
    func keys() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let (environment, file) = (SecretKey.generate(), SecretKey.generate())
        let path = try folder.write("exit.key", NIP19.nsec(file.exposeBytes()).encoded)
        func publicKey(_ value: String, _ options: [String] = []) throws -> PublicKey {
            try Invocation(
                ["exit", "--relay", Self.relay, "--backend", Self.backend] + options,
                environment: ["NOSTR_PRIVATE_KEY": value]
            ).configuration(of: ExitCommand.self).secretKey.publicKey
        }
        let bytes = try environment.exposeBytes()
        #expect(try publicKey(bytes.hex) == environment.publicKey)
        #expect(try publicKey(NIP19.nsec(bytes).encoded) == environment.publicKey)
        #expect(try publicKey(bytes.hex, ["--key-file", path]) == file.publicKey)
    }

    @Test("an invalid key in the environment is a configuration error that does not contain it")
    func invalidKey() throws {
        let refusal = try #require(
            try Invocation(
                ["exit", "--relay", Self.relay, "--backend", Self.backend],
                environment: ["NOSTR_PRIVATE_KEY": "not-a-key-at-all"]
            ).refusal()
        )
        #expect(refusal.status == 78)
        #expect(refusal.message.contains("NOSTR_PRIVATE_KEY"))
        #expect(!refusal.message.contains("not-a-key-at-all"))
    }

    @Test(
        "the state folder is that of XDG_STATE_HOME if it is an absolute path, or else in the home directory",
        arguments: [
            (["XDG_STATE_HOME": "/x/state", "HOME": "/home/a"], "/x/state/nws"),
            (["XDG_STATE_HOME": "state", "HOME": "/home/a"], "/home/a/.local/state/nws"),
            (["HOME": "/home/a"], "/home/a/.local/state/nws"),
        ]
    )
    func stateFolder(environment: [String: String], folder: String) {
        #expect(KeyFile.stateFolder(environment) == folder)
    }
}
