//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Observability

/// A command that runs until it receives a signal.
///
/// It reloads its configuration on SIGHUP, and when its configuration file or a watched file changes.
protocol RoleCommand: AsyncParsableCommand, Sendable {
    associatedtype Configuration: Sendable
    associatedtype Running: Sendable

    var common: CommonOptions { get }
    var admin: AdminOptions { get }
    /// How long open streams may continue after a signal to stop, in seconds.
    var shutdownTimeout: Int { get }

    /// The title of the status page: the exit's name or the listening address.
    static func name(of running: Running) -> String
    /// Adds the data of the role to the report.
    static func report(_ running: Running, into report: inout StatusReport) async
    /// The proxy auto-configuration (PAC) script; nil if the role is not a proxy.
    static func proxyScript(_ running: Running) -> String?
    /// Validates the options and reads the files that they name.
    func makeConfiguration(_ settings: Settings, logger: Logger) throws -> Configuration
    /// Files that are reloaded when they change, besides the configuration file.
    func watchedFiles(_ configuration: Configuration) -> [String]
    /// Starts the role. It must call `running` before it waits for anything, so that a signal can stop the role.
    func start(_ configuration: Configuration, logger: Logger, running: @Sendable (Running) -> Void) async throws
    /// Applies the reloadable options of `configuration`.
    static func reload(_ running: Running, _ configuration: Configuration, logger: Logger) async throws
    /// Stops the role.
    ///
    /// - Parameter patience: How long open streams may continue.
    static func stop(_ running: Running, patience: TimeAmount, logger: Logger) async throws
}

extension RoleCommand {
    func watchedFiles(_ configuration: Configuration) -> [String] { [] }
    static func proxyScript(_ running: Running) -> String? { nil }

    func run() async throws {
        try await reportingErrors {
            ProcessSetup.raiseFileLimit()
            let logger = self.common.logger("nws.\(Self.configuration.commandName ?? "")")
            let patience = self.shutdownTimeout
            guard (0...600).contains(patience) else {
                throw CommandError.configuration("--shutdown-timeout: must be between 0 and 600 seconds")
            }
            for variable in LayeredArguments.lastUnknown {
                logger.warning("unknown variable \(variable)", metadata: ["variable": "\(variable)"])
            }
            let settings = try Settings()
            for problem in settings.problems {
                logger.warning("ignored an invalid line of the .env file", metadata: ["line": "\(problem)"])
            }
            let configuration = try self.makeConfiguration(settings, logger: logger)
            let pages = try await self.admin.configuration()
            if self.common.checkConfig {
                Console.line("configuration: ok")
                return
            }
            let running = NIOLockedValueBox<Running?>(nil)
            let reloader = NIOLockedValueBox(Reloader(files: self.files(configuration)))
            try await ProcessSetup.runUntilSignal(patience: .seconds(patience)) {
                try await self.startWithPages(pages, configuration, logger: logger) { started in
                    running.withLockedValue { $0 = started }
                }
            } reload: { isForced in
                guard let current = running.withLockedValue({ $0 }), reloader.withLockedValue({ $0.isDue(isForced) })
                else { return }
                defer { reloader.withLockedValue { $0.isOver() } }
                do {
                    let layered = try LayeredArguments.current()
                    let command = try Self.parse(layered.ofCommand)
                    let configuration = try ProcessSetup.$isReloading.withValue(true) {
                        try command.makeConfiguration(Settings(), logger: logger)
                    }
                    try await Self.reload(current, configuration, logger: logger)
                    let fixed = reloader.withLockedValue { $0.took(layered, files: command.files(configuration)) }
                    logger.notice("configuration reloaded")
                    if !fixed.isEmpty {
                        logger.warning(
                            "some changes take effect only after a restart",
                            metadata: ["options": "\(fixed.joined(separator: " "))"]
                        )
                    }
                } catch {
                    let reason = (error as? CommandError)?.message ?? Self.message(for: error)
                    logger.error(
                        "invalid configuration; keeping the previous configuration",
                        metadata: ["reason": "\(LayeredArguments.explaining(reason))"]
                    )
                }
            } stop: {
                ServiceManager()?.stopping()
                guard let current = running.withLockedValue({ $0 }) else { return }
                logger.info("stopping; waiting up to \(patience) s for open streams")
                do {
                    try await Self.stop(current, patience: .seconds(Int64(patience)), logger: logger)
                } catch {
                    throw CommandError.failure("shutdown failed: \(error)")
                }
            }
        }
    }

    /// Starts the role and, if configured, the admin server. Without an admin server it returns when the role is ready;
    /// otherwise it runs until its task is cancelled.
    private func startWithPages(
        _ pages: AdminServer.Configuration?,
        _ configuration: Configuration,
        logger: Logger,
        onStart: @escaping @Sendable (Running) -> Void
    ) async throws {
        guard let pages else {
            try await self.start(configuration, logger: logger, running: onStart)
            ServiceManager()?.ready()
            return
        }
        // Start the admin server first, so that the role does not announce itself if the server cannot start.
        let server = try await AdminOptions.start(
            pages,
            report: StatusReport(
                role: Self.configuration.commandName ?? "",
                version: Version.text,
                name: "",
                startedAt: ProcessMetrics.startedAt
            ),
            logger: logger
        )
        let (started, starts) = AsyncStream<Running>.makeStream(bufferingPolicy: .bufferingNewest(1))
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for await running in started {
                    await Self.serve(server, running, logger: logger)
                    return
                }
            }
            group.addTask {
                try await self.start(configuration, logger: logger) { service in
                    onStart(service)
                    starts.yield(service)
                }
                ServiceManager()?.ready()
            }
            // If one of the tasks fails, the other is cancelled.
            for try await _ in group {}
        }
        try await server.stop()
    }

    /// Updates the report of the admin server until the task is cancelled.
    private static func serve(_ server: AdminServer, _ running: Running, logger: Logger) async {
        server.setProxyScript(Self.proxyScript(running))
        logger.info("status page at http://\(server.localAddress.shown)/")
        Console.line("admin: http://\(server.localAddress.shown)/")
        await server.run { report in
            report.name = Self.name(of: running)
            await Self.report(running, into: &report)
            report.problems = ProcessMetrics.problems
        }
    }

    private func files(_ configuration: Configuration) -> [String] {
        [LayeredArguments.lastFile].compactMap { $0 } + self.watchedFiles(configuration)
    }
}

/// Detects whether the configuration has changed since it was last read.
private struct Reloader {
    private var files: [String]
    private var stamps: [String: String]
    private var added: [String: [String]]
    private var isBusy = false
    private var isForcedLater = false

    init(files: [String]) {
        self.files = files
        self.stamps = Self.stamps(files)
        self.added = LayeredArguments.lastAdded
    }

    /// Whether to reload the configuration. An invalid configuration is reported only once, until it changes again.
    ///
    /// Only one reload runs at a time. If this returns true, ``isOver()`` must be called when the reload has finished.
    mutating func isDue(_ isForced: Bool) -> Bool {
        guard !self.isBusy else {
            self.isForcedLater = self.isForcedLater || isForced
            return false
        }
        let stamps = Self.stamps(self.files)
        guard isForced || self.isForcedLater || stamps != self.stamps else { return false }
        self.stamps = stamps
        self.isForcedLater = false
        self.isBusy = true
        return true
    }

    mutating func isOver() { self.isBusy = false }

    /// Records the configuration that was applied.
    ///
    /// - Returns: The changed options that require a restart.
    mutating func took(_ layered: LayeredArguments, files: [String]) -> [String] {
        let changed = Set(self.added.keys).union(layered.added.keys).filter { self.added[$0] != layered.added[$0] }
        self.added = layered.added
        self.files = files
        // Keep the stamps from before the files were read, so that later changes are still detected.
        let known = self.stamps
        self.stamps = Self.stamps(files).merging(known) { _, before in before }
            .filter { files.contains($0.key) }
        return changed.subtracting(layered.reloadable).sorted().map { "--\($0)" }
    }

    private static func stamps(_ files: [String]) -> [String: String] {
        var stamps: [String: String] = [:]
        for file in files {
            let attributes = try? FileManager.default.attributesOfItem(atPath: file)
            let changed = (attributes?[.modificationDate] as? Date)?.timeIntervalSince1970 ?? 0
            stamps[file] = "\(changed) \(attributes?[.size] ?? 0) \(attributes?[.systemFileNumber] ?? 0)"
        }
        return stamps
    }
}
