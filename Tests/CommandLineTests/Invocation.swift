//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Logging

@testable import nws

/// A command line with its environment and `.env` file, read as the program reads them before a role starts.
struct Invocation {
    /// The secret key in the environment, unless a test sets another one. The key of this machine is never used.
    private static let secretKey = String(repeating: "01", count: 32)

    private static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// The reason why the program does not start.
    struct Refusal: Hashable {
        let status: Int32
        let message: String
    }

    private let arguments: [String]
    private let environment: [String: String]
    private let dotEnv: String

    /// - Parameters:
    ///   - arguments: The command line without the program's name.
    ///   - environment: The environment, besides the secret key.
    ///   - dotEnv: The path of the `.env` file.
    init(_ arguments: [String], environment: [String: String] = [:], dotEnv: String = "/nonexistent/.env") {
        self.arguments = arguments
        self.environment = ["NOSTR_PRIVATE_KEY": Self.secretKey].merging(environment) { _, given in given }
        self.dotEnv = dotEnv
    }

    func settings() throws -> Settings { try Settings(environment: self.environment, dotEnv: self.dotEnv) }

    /// The command line with the options from the environment and the files.
    func layered() throws -> LayeredArguments {
        try LayeredArguments(self.arguments, environment: self.settings().all, catalog: OptionCatalog())
    }

    /// The configuration with which a role would start.
    func configuration<Command: RoleCommand>(of _: Command.Type) throws -> Command.Configuration {
        try Command.parse(self.layered().ofCommand).makeConfiguration(self.settings(), logger: Self.logger)
    }

    /// What the program prints and its exit status if it does not start; nil if it would start.
    func refusal() throws -> Refusal? {
        let layered: LayeredArguments
        do {
            layered = try self.layered()
        } catch let error as CommandError {
            return Refusal(status: error.status.rawValue, message: error.message)
        }
        let command: any ParsableCommand
        do {
            command = try NWS.parseAsRoot(layered.arguments)
        } catch {
            guard let configuration = NWS.configurationError(for: error, layered) else {
                return Refusal(status: NWS.exitCode(for: error).rawValue, message: NWS.message(for: error))
            }
            return Refusal(status: configuration.status.rawValue, message: configuration.message)
        }
        do {
            if let role = command as? any RoleCommand {
                _ = try role.makeConfiguration(self.settings(), logger: Self.logger)
            }
            return nil
        } catch let error as CommandError {
            return Refusal(status: error.status.rawValue, message: layered.explaining(error.message))
        }
    }
}
