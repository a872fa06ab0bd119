//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import SettingsFiles

/// The exit statuses of the program, with the values of sysexits.h.
enum ExitStatus {
    /// The configuration is invalid: 78 (`EX_CONFIG`).
    static let configuration = ExitCode(78)
    /// A listening address is not available, or a key is in use: 69 (`EX_UNAVAILABLE`).
    static let unavailable = ExitCode(69)
    /// All other failures: 1.
    static let failure = ExitCode(1)
}

/// An error with a message for standard error and an exit status.
struct CommandError: Error, CustomStringConvertible {
    let status: ExitCode
    let message: String

    var description: String { self.message }

    static func configuration(_ message: String) -> CommandError {
        CommandError(status: ExitStatus.configuration, message: message)
    }

    /// Runs `read`, and converts errors of settings files to configuration errors.
    static func explainingFiles<Result>(_ read: () throws -> Result) throws -> Result {
        do {
            return try read()
        } catch let error as SettingsFileError {
            throw CommandError.configuration(error.description)
        }
    }

    static func unavailable(_ message: String) -> CommandError {
        CommandError(status: ExitStatus.unavailable, message: message)
    }

    static func failure(_ message: String) -> CommandError {
        CommandError(status: ExitStatus.failure, message: message)
    }
}

/// Runs a command's body; an error is written to standard error and becomes the exit status.
func reportingErrors<Result>(_ body: () async throws -> Result) async throws -> Result {
    do {
        return try await body()
    } catch let error as CommandError {
        // The message can contain text from relays and peers.
        Console.error(Console.printable("nws: \(LayeredArguments.explaining(error.message))"))
        throw error.status
    } catch let error as ExitCode {
        throw error
    } catch {
        Console.error(Console.printable("nws: \(error)"))
        throw ExitStatus.failure
    }
}
