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

/// Options of all roles.
struct CommonOptions: ParsableArguments {
    @Option(help: "Minimum level of log messages: trace, debug, info, notice, warning, error.")
    var logLevel: LogLevel = .info

    @Option(help: "Format of log messages: text or json.")
    var logFormat: ConsoleLogHandler.Format = .text

    @Option(
        help: ArgumentHelp(
            "YAML file with options for this command, one 'option: value' per line. [NWS_CONFIG]",
            valueName: "file"
        )
    )
    var config: String?

    @Flag(help: "Validate the configuration and exit.")
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
            "Time that open streams have to finish after SIGTERM or SIGINT. A second signal ends the process immediately.",
            valueName: "seconds"
        )
    )
    var shutdownTimeout = 5
}

/// Setup of the process: file limits, signals and shutdown.
enum ProcessSetup {
    /// Whether the configuration is read by a running process. No files are created then.
    @TaskLocal static var isReloading = false

    /// Maximum limit of open files to request.
    private static let descriptors: UInt = 1 << 20

    /// Raises the soft limit of open files to the hard limit, because each stream needs a file descriptor.
    ///
    /// - Returns: The new limit; nil if it cannot be read.
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

    /// Opens `/dev/null` for those of standard input, output and error that are closed. Otherwise the next socket would
    /// get their number.
    static func openStandardDescriptors() {
        for descriptor in CInt(0)...2 where fcntl(descriptor, F_GETFD) == -1 {
            // open(2) returns the lowest free descriptor, which is this one.
            _ = unsafe open("/dev/null", O_RDWR)
        }
    }

    /// Maximum time from the end of the streams to the end of the process.
    private static let farewell: Duration = .seconds(4)
    /// Interval at which files are checked for changes.
    private static let watchInterval: Duration = .seconds(1)

    /// Runs a role until SIGINT or SIGTERM, then stops it. A second signal ends the process at once.
    ///
    /// - Parameters:
    ///   - patience: How long `stop` may wait for open streams.
    ///   - start: Starts the role and returns once it is ready, or throws.
    ///   - reload: Called for SIGHUP (true), and at least once per second (false) to check for changes.
    ///   - stop: Stops the role. It can be called before `start` has returned.
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
                // Notify the watchdog at half its interval (sd_watchdog_enabled(3)).
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
            // Stop inside the group, because `start` may not return before `stop` is called. The process ends even if
            // the role does not stop in time.
            group.addTask {
                try await Task.sleep(for: patience + Self.farewell)
                endProcess(0)
            }
            try await stop()
            endProcess(0)
        }
    }

    /// Waits until each event loop has run a task, which shows that none is blocked.
    private static func waitForLoops() async throws {
        for loop in MultiThreadedEventLoopGroup.singleton.makeIterator() { try await loop.submit {}.get() }
    }

    /// Converts a failure to bind into an error with its exit status.
    static func bindError(_ error: any Error, address: String) -> any Error {
        guard let error = error as? IOError else {
            return CommandError.unavailable("cannot listen on \(address): \(error)")
        }
        switch error.errnoCode {
        case EADDRINUSE: return CommandError.unavailable("cannot listen on \(address): the port is in use")
        case EACCES: return CommandError.unavailable("cannot listen on \(address): permission denied")
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
