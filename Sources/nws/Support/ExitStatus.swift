//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import SettingsFiles

/// The exit statuses of the program (sysexits.h where there is one).
enum ExitStatus {
    /// A configuration that cannot be used: 78.
    static let configuration = ExitCode(78)
    /// An address that cannot be listened on, a key that is in use: 69.
    static let unavailable = ExitCode(69)
    /// Everything else: 1.
    static let failure = ExitCode(1)
}

/// An error with its exit status, told to the person on standard error.
struct CommandError: Error, CustomStringConvertible {
    let status: ExitCode
    let message: String

    var description: String { self.message }

    static func configuration(_ message: String) -> CommandError {
        CommandError(status: ExitStatus.configuration, message: message)
    }

    /// What reading files of settings gives; what is wrong with one is a configuration that cannot be used.
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
        // Others' words can be in it.
        Console.error(Console.printable("nws: \(LayeredArguments.explaining(error.message))"))
        throw error.status
    } catch let error as ExitCode {
        throw error
    } catch {
        Console.error(Console.printable("nws: \(error)"))
        throw ExitStatus.failure
    }
}
