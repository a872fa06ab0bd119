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

    @Option(help: "How log lines are written: text or json.")
    var logFormat: ConsoleLogHandler.Format = .text

    @Option(
        help: ArgumentHelp(
            "YAML file with options of this command, one 'option: value' a line. [NWS_CONFIG]",
            valueName: "file"
        )
    )
    var config: String?

    @Flag(help: "Check options, files and keys, say what is wrong, and end.")
    var checkConfig = false

    /// The levels of swift-log.
    enum LogLevel: String, CaseIterable, ExpressibleByArgument {
        case trace, debug, info, notice, warning, error

        var level: Logger.Level { Logger.Level(rawValue: self.rawValue) ?? .info }
    }

    /// The logger of a role.
    func logger(_ label: String) -> Logger {
        .console(label, self.logLevel.level, format: self.logFormat)
    }
}

/// Options of the roles that carry streams.
struct ShutdownOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "After SIGTERM or SIGINT, how long streams may go on before they are ended. A second signal ends at once.",
            valueName: "seconds"
        )
    )
    var shutdownTimeout = 5
}

/// What every role does to its process.
enum ProcessSetup {
    /// Whether a configuration is read for a process that runs already: then nothing is made.
    @TaskLocal static var isReloading = false

    /// Most descriptors asked for.
    private static let descriptors: UInt = 1 << 20

    /// Raises the soft limit of open files to the hard one: every stream takes one. Returns what is allowed then; nil if that
    /// cannot be told.
    @discardableResult
    static func raiseFileLimit() -> UInt? {
        var limit = rlimit()
        #if canImport(Glibc)
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        #else
        let resource = RLIMIT_NOFILE
        #endif
        guard unsafe getrlimit(resource, &limit) == 0 else { return nil }
        limit.rlim_cur = min(limit.rlim_max, rlim_t(Self.descriptors))
        _ = unsafe setrlimit(resource, &limit)
        return unsafe getrlimit(resource, &limit) == 0 ? UInt(limit.rlim_cur) : nil
    }

    /// Opens those of standard input, output and error that whoever started the process closed: the next socket would have
    /// their number otherwise.
    static func openStandardDescriptors() {
        for descriptor in CInt(0)...2 where fcntl(descriptor, F_GETFD) == -1 {
            // The lowest free number is this one.
            _ = unsafe open("/dev/null", O_RDWR)
        }
    }

    /// Longest time from the end of the streams to that of the process.
    private static let farewell: Duration = .seconds(4)
    /// How often files are looked at.
    private static let watchInterval: Duration = .seconds(1)

    /// Runs a role until SIGINT or SIGTERM, then stops it. A second signal ends the process at once.
    ///
    /// - Parameters:
    ///   - patience: How long `stop` may take beside its farewell.
    ///   - start: Starts the role and returns once it is ready, or throws.
    ///   - reload: Called for SIGHUP (true), and every second (false) to look for changes.
    ///   - stop: Ends it; called also while `start` still waits.
    static func runUntilSignal(
        patience: Duration = .zero,
        start: @escaping @Sendable () async throws -> Void,
        reload: @escaping @Sendable (_ isForced: Bool) async -> Void = { _ in },
        stop: @escaping @Sendable () async throws -> Void
    ) async throws {
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
        try await withThrowingTaskGroup(of: Bool.self) { group in
            let (requests, request) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
            group.addTask {
                var isStopping = false
                for await signal in signals {
                    if signal == .sighup {
                        if !isStopping { await reload(true) }
                        continue
                    }
                    if isStopping { endProcess(1) }
                    isStopping = true
                    request.yield()
                }
                return false
            }
            group.addTask {
                for await _ in requests { break }
                return true
            }
            group.addTask {
                try await start()
                return false
            }
            group.addTask {
                let manager = ServiceManager()
                // Twice as often as asked for.
                let interval = manager?.watchdogInterval.map { min($0 / 2, Self.watchInterval) } ?? Self.watchInterval
                while true {
                    try await Task.sleep(for: interval)
                    await reload(false)
                    if let manager, manager.watchdogInterval != nil {
                        try await Self.waitForLoops()
                        manager.alive()
                    }
                }
            }
            group.addTask {
                var memory = UnusedMemory()
                while true {
                    try await Task.sleep(for: UnusedMemory.interval)
                    memory.look()
                }
            }
            while let wasSignal = try await group.next() {
                if wasSignal { break }
            }
            // Here and not behind the group: `start` may wait for what only `stop` ends. A role that can't finish in
            // time is ended all the same.
            group.addTask {
                try await Task.sleep(for: patience + Self.farewell)
                endProcess(0)
            }
            try await stop()
            endProcess(0)
        }
    }

    /// Waits until all event loops did what they are given.
    private static func waitForLoops() async throws {
        for loop in MultiThreadedEventLoopGroup.singleton.makeIterator() { try await loop.submit {}.get() }
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
let endProcess = Glibc.exit
#elseif canImport(Musl)
let endProcess = Musl.exit
#else
let endProcess = Darwin.exit
#endif
