//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Logging
import NIOCore
import NIOPosix
import UnixSignals

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Options that every role has.
struct CommonOptions: ParsableArguments {
    @Option(help: "Least important log lines to write: trace, debug, info, notice, warning, error.")
    var logLevel: LogLevel = .info

    /// The levels of swift-log.
    enum LogLevel: String, CaseIterable, ExpressibleByArgument {
        case trace, debug, info, notice, warning, error

        var level: Logger.Level { Logger.Level(rawValue: self.rawValue) ?? .info }
    }

    /// The logger of a role.
    func logger(_ label: String) -> Logger {
        var logger = Logger(label: label) { _ in ConsoleLogHandler() }
        logger.logLevel = self.logLevel.level
        return logger
    }
}

/// What every role does to its process.
enum ProcessSetup {
    /// Most descriptors asked for.
    private static let descriptors: UInt = 1 << 20

    /// Raises the soft limit of open files to the hard one: every stream takes one.
    static func raiseFileLimit() {
        var limit = rlimit()
        #if canImport(Glibc)
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        #else
        let resource = RLIMIT_NOFILE
        #endif
        guard unsafe getrlimit(resource, &limit) == 0 else { return }
        limit.rlim_cur = min(limit.rlim_max, rlim_t(Self.descriptors))
        _ = unsafe setrlimit(resource, &limit)
    }

    /// Longest time from the first signal to the end.
    static let shutdownDeadline: Duration = .seconds(4)

    /// Runs a role until SIGINT or SIGTERM, then stops it.
    ///
    /// - Parameters:
    ///   - start: Starts the role and returns once it is ready, or throws.
    ///   - stop: Ends it; called also while `start` still waits.
    static func runUntilSignal(
        start: @escaping @Sendable () async throws -> Void,
        stop: @escaping @Sendable () async throws -> Void
    ) async throws {
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                for await _ in signals { return true }
                return true
            }
            group.addTask {
                try await start()
                return false
            }
            while let wasSignal = try await group.next() {
                if wasSignal { break }
            }
            // Here and not behind the group: `start` may wait for what only `stop` ends. A role that can't finish in
            // time is ended all the same.
            group.addTask {
                try await Task.sleep(for: Self.shutdownDeadline)
                endProcess(0)
            }
            try? await stop()
            endProcess(0)
        }
    }

    /// What a failure to bind means for the exit status.
    static func bindError(_ error: any Error, address: String) -> any Error {
        guard let error = error as? IOError else {
            return CommandError.unavailable("cannot listen on \(address): \(error)")
        }
        switch error.errnoCode {
        case EADDRINUSE: return CommandError.unavailable("cannot listen on \(address): the port is in use")
        case EACCES: return CommandError.unavailable("cannot listen on \(address): not permitted")
        default:
            let reason = unsafe String(cString: strerror(error.errnoCode))
            return CommandError.unavailable("cannot listen on \(address): \(reason)")
        }
    }
}

#if canImport(Glibc)
private let endProcess = Glibc.exit
#elseif canImport(Musl)
private let endProcess = Musl.exit
#else
private let endProcess = Darwin.exit
#endif
