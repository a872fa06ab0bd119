//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Testing
import Tunnel

@testable import nws

@Suite("Configuration files, and the source of invalid values")
struct ConfigurationFileTests {
    private static let common = ["exit", "--backend", "127.0.0.1:1"]
    private static let relay = ["--relay", "ws://127.0.0.1:1"]

    @Test("a variable names the file")
    func variable() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let file = try folder.write("exit.yaml", "max-sessions: 7\nearly-data: true\n")
        let invocation = Invocation(Self.common + Self.relay, environment: ["NWS_CONFIG": file])
        #expect(try invocation.layered().file == file)
        let configuration = try invocation.configuration(of: ExitCommand.self)
        #expect(configuration.maximumSessions == 7)
        #expect(configuration.takesEarlyData)
    }

    /// `FILE` stands for the path of the file.
    @Test(
        "an invalid file is rejected with a message that names the error",
        arguments: [
            ("relays: [ws://x]", "FILE, line 1: unknown option relays for nws exit"),
            ("\nmax-streams: many", "(set by FILE, line 2)"),
            ("max-streams: 0", "--max-streams: must be between 1 and 1000000 (set by FILE, line 1)"),
            ("max-streams: [1, 2]", "FILE, line 1: max-streams must have exactly one value"),
            ("early-data: perhaps", "FILE, line 1: early-data must be true or false"),
            ("relay: [ws://x, ftp://y]", "ftp://y is not a relay URL"), ("a: [1", "FILE: invalid YAML"),
            ("- a", "FILE: must consist of lines of the form 'option: value'"), ("relay", "option: value"),
            ("log-level: info\nlog-level: debug", "duplicated key"),
            ("relay: [[a]]", "FILE, line 1: relay has a value that is neither text nor a number"),
            ("config: other.yaml", "FILE, line 1: unknown option config"),
            ("allow: []", "FILE, line 1: allow has no value"),
        ]
    )
    func invalid(text: String, message: String) throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let file = try folder.write("exit.yaml", text)
        let options = text.hasPrefix("relay:") ? [] : Self.relay
        let refusal = try #require(try Invocation(Self.common + options + ["--config", file]).refusal())
        #expect(refusal.status == 78)
        #expect(refusal.message.contains(message.replacing("FILE", with: file)))
    }

    @Test("a file that cannot be read is a configuration error")
    func missing() throws {
        let refusal = try #require(try Invocation(Self.common + ["--config", "/nonexistent/exit.yaml"]).refusal())
        #expect(refusal.status == 78)
        #expect(refusal.message.contains("/nonexistent/exit.yaml"))
    }

    @Test(
        "an invalid value in the environment is a configuration error that names the variable",
        arguments: ["many", "0"]
    )
    func source(value: String) throws {
        let invocation = Invocation(Self.common + Self.relay, environment: ["NWS_MAX_STREAMS": value])
        let refusal = try #require(try invocation.refusal())
        #expect(refusal.status == 78)
        #expect(refusal.message.hasSuffix("(set by NWS_MAX_STREAMS)"))
    }

    @Test("an option whose name only begins like that of another is not explained by the source of the other")
    func sourceOfAnother() throws {
        let invocation = Invocation(
            Self.common + Self.relay + ["--max-streams-per-client", "5"],
            environment: ["NWS_MAX_STREAMS": "7"]
        )
        let refusal = try #require(try invocation.refusal())
        #expect(refusal.message.contains("--max-streams-per-client"))
        #expect(!refusal.message.contains("NWS_MAX_STREAMS"))
    }
}
