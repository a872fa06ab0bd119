//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser

/// `nws version`
struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Show the version.")

    func run() { Console.line(Version.text) }
}
