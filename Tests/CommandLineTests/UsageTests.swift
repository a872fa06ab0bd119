//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Testing

@testable import nws

@Suite("Invalid command lines, and help")
struct UsageTests {
    @Test(
        "what a command does not understand is a usage error that names it",
        arguments: [
            (["relay", "--no-such-option"], "--no-such-option"), (["exit", "--no-such-option"], "--no-such-option"),
            (["entry", "--no-such-option"], "--no-such-option"),
            (["key", "show", "--no-such-option"], "--no-such-option"),
            (["name", "decode", "x", "--no-such-option"], "--no-such-option"), (["no-such-command"], "no-such-command"),
            (["name", "encode"], "pubkey"), (["forward", "127.0.0.1:0"], "pairs"),
            (["exit", "--max-streams", "many"], "--max-streams"), (["ping", "x", "--count", "0"], "--count"),
            (["relay", "--max-message-length", "10"], "--max-message-length"),
        ]
    )
    func usage(arguments: [String], message: String) throws {
        let refusal = try #require(try Invocation(arguments).refusal())
        #expect(refusal.status == 64)
        #expect(refusal.message.contains(message))
    }

    @Test("every command prints its usage when it is asked for help, which is a success")
    func help() throws {
        func check(_ path: [String], _ command: OptionCatalog.Command) throws {
            let text = try #require(try Self.helpText(path + ["--help"]), "\(path)")
            #expect(text.contains("USAGE"), "\(path)")
            for sub in command.subcommands ?? [] where sub.commandName != "help" {
                try check(path + [sub.commandName], sub)
            }
        }
        try check([], OptionCatalog().root)
    }

    @Test("the environment and the file do not stand in the way of help")
    func helpWithSettings() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let file = try folder.write("exit.yaml", "relay: [ws://127.0.0.1:1]\nmax-streams: 7\n")
        let layered = try Invocation(
            ["exit", "--help"],
            environment: ["NWS_CONFIG": file, "NWS_MAX_SESSIONS": "7"]
        ).layered()
        #expect(Set(layered.added.keys) == ["relay", "max-streams", "max-sessions"])
        let text = try #require(try Self.helpText(layered.arguments))
        #expect(text.contains("USAGE"))
    }

    @Test(
        "options and the file of roles do not reach other commands",
        arguments: [["--version"], ["pins", "list"], ["key", "generate"]]
    )
    func otherCommands(arguments: [String]) throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let file = try folder.write("exit.yaml", "max-streams: 7\n")
        let layered = try Invocation(arguments, environment: ["NWS_CONFIG": file, "NWS_RELAY": "ws://x"]).layered()
        #expect(layered.arguments == arguments)
        #expect(layered.file == nil)
    }

    /// The help that a command line prints; nil if it prints none.
    private static func helpText(_ arguments: [String]) throws -> String? {
        var command = try NWS.parseAsRoot(arguments)
        do {
            try command.run()
            return nil
        } catch {
            return NWS.exitCode(for: error) == .success ? NWS.message(for: error) : nil
        }
    }
}
