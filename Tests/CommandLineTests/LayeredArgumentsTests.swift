//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import Testing

@testable import nws

@Suite("Options from the command line, the environment and the file")
struct LayeredArgumentsTests {
    private static func arguments(
        _ own: [String],
        _ environment: [String: String] = [:],
        file: String? = nil
    ) throws -> LayeredArguments {
        guard let file else { return try LayeredArguments(own, environment: environment, catalog: OptionCatalog()) }
        let path = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).yaml").path()
        try Data(file.utf8).write(to: URL(filePath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try LayeredArguments(own + ["--config", path], environment: environment, catalog: OptionCatalog())
    }

    @Test("the command line comes before the environment, and the environment before the file")
    func priority() throws {
        let file = "max-sessions: 1\nmax-streams: 1\nmax-handshakes-per-second: 1\n"
        let layered = try Self.arguments(
            ["exit", "--max-sessions", "3"],
            ["NWS_MAX_SESSIONS": "2", "NWS_MAX_STREAMS": "2"],
            file: file
        )
        let command = try ExitCommand.parse(layered.ofCommand)
        #expect(command.maxSessions == 3)
        #expect(command.maxStreams == 2)
        #expect(command.maxHandshakesPerSecond == 1)
    }

    @Test("lists are separated by semicolons in a variable, and are lists in the file")
    func lists() throws {
        let variable = try Self.arguments(["exit"], ["NWS_RELAY": "ws://a; ws://b"])
        #expect(try ExitCommand.parse(variable.ofCommand).relay == ["ws://a", "ws://b"])
        let file = try Self.arguments(["exit"], file: "relay: [ws://c, ws://d]\nservice: {22: h:22}\n")
        #expect(try ExitCommand.parse(file.ofCommand).relay == ["ws://c", "ws://d"])
        #expect(try ExitCommand.parse(file.ofCommand).serviceOptions.service == ["22=h:22"])
    }

    @Test("a flag is true or false; false in a variable is the same as none")
    func flags() throws {
        for (value, isSet) in [("true", true), ("1", true), ("no", false), ("OFF", false)] {
            let layered = try Self.arguments(["exit"], ["NWS_EARLY_DATA": value])
            #expect(try ExitCommand.parse(layered.ofCommand).earlyData == isSet)
        }
        #expect(throws: CommandError.self) { try Self.arguments(["exit"], ["NWS_EARLY_DATA": "perhaps"]) }
    }

    @Test("a variable of no option is reported, and those of other commands are not")
    func unknownVariables() throws {
        let layered = try Self.arguments(["entry"], ["NWS_MAX_STREEMS": "1", "NWS_MAX_SESSIONS": "1", "OTHER": "1"])
        #expect(layered.unknownVariables == ["NWS_MAX_STREEMS"])
        #expect(layered.added.isEmpty)
    }

    @Test("every option has a description, and no two options of a command share a variable")
    func catalog() throws {
        func check(_ command: OptionCatalog.Command) {
            let options = command.settings.filter(\.shouldDisplay)
            for option in options { #expect(option.abstract?.isEmpty == false, "\(command.commandName) \(option)") }
            #expect(Set(options.compactMap(\.variable)).count == options.count)
            for sub in command.subcommands ?? [] { check(sub) }
        }
        check(try OptionCatalog().root)
    }
}
