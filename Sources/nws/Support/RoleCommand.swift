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

/// A command that runs until a signal, and takes a new configuration meanwhile: SIGHUP, or a change of its file or of a
/// file that its options name.
protocol RoleCommand: AsyncParsableCommand, Sendable {
    associatedtype Configuration: Sendable
    associatedtype Running: Sendable

    /// Options that take effect without a restart.
    static var reloadable: Set<String> { get }
    var common: CommonOptions { get }
    var admin: AdminOptions { get }
    /// How many seconds streams may go on when told to stop.
    var shutdownTimeout: Int { get }

    /// What the pages call it: a name, or where it listens.
    static func name(of running: Running) -> String
    /// Fills in what only the role knows.
    static func report(_ running: Running, into report: inout StatusReport) async
    /// The settings script of its proxy, if it has one.
    static func proxyScript(_ running: Running) -> String?
    /// Checks the options and reads what they name.
    func makeConfiguration(_ settings: Settings, logger: Logger) throws -> Configuration
    /// Files whose change is a change of the configuration.
    func watchedFiles(_ configuration: Configuration) -> [String]
    /// Starts the role. `running` has to be told before anything is waited for, so that a signal can end it.
    func start(_ configuration: Configuration, logger: Logger, running: @Sendable (Running) -> Void) async throws
    /// Takes what can change from `configuration`.
    static func reload(_ running: Running, _ configuration: Configuration, logger: Logger) async throws
    /// - Parameter patience: How long streams may go on.
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
                throw CommandError.configuration("--shutdown-timeout: expected 0 to 600 seconds")
            }
            for variable in LayeredArguments.lastUnknown {
                logger.warning("a variable looks like an option and is none", metadata: ["variable": "\(variable)"])
            }
            let settings = try Settings()
            for problem in settings.problems {
                logger.warning("a line was passed over", metadata: ["line": "\(problem)"])
            }
            let configuration = try self.makeConfiguration(settings, logger: logger)
            let pages = try await self.admin.configuration()
            if self.common.checkConfig {
                Console.line("configuration: ok")
                return
            }
            let running = NIOLockedValueBox<Running?>(nil)
            let reloader = NIOLockedValueBox(Reloader<Self>(files: self.files(configuration)))
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
                    if !Self.reloadable.isEmpty { logger.notice("configuration reloaded") }
                    if !fixed.isEmpty || Self.reloadable.isEmpty {
                        logger.warning(
                            Self.reloadable.isEmpty
                                ? "nothing of this role changes while it runs; changes take effect after a restart"
                                : "some changes take effect only after a restart",
                            metadata: fixed.isEmpty ? [:] : ["options": "\(fixed.joined(separator: " "))"]
                        )
                    }
                } catch {
                    let reason = (error as? CommandError)?.message ?? Self.message(for: error)
                    logger.error(
                        "the new configuration cannot be used; the old one stays in force",
                        metadata: ["reason": "\(LayeredArguments.explaining(reason))"]
                    )
                }
            } stop: {
                ServiceManager()?.stopping()
                guard let current = running.withLockedValue({ $0 }) else { return }
                logger.info("stopping", metadata: ["patience.seconds": "\(patience)"])
                do {
                    try await Self.stop(current, patience: .seconds(Int64(patience)), logger: logger)
                } catch {
                    throw CommandError.failure("could not stop in good order: \(error)")
                }
            }
        }
    }

    /// Starts the role, and beside it its pages, if any are wanted. Returns when the role is ready and there are none, else
    /// never.
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
        // First, so that nothing is announced of a role that cannot have its pages.
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
            // The first that fails ends the other.
            for try await _ in group {}
        }
        try await server.stop()
    }

    /// Fills the role's pages until the task is cancelled.
    private static func serve(_ server: AdminServer, _ running: Running, logger: Logger) async {
        server.setProxyScript(Self.proxyScript(running))
        logger.info("pages", metadata: ["url": "http://\(server.localAddress.shown)/"])
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

/// Knows whether a configuration has changed since it was last read.
private struct Reloader<Command: RoleCommand> {
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

    /// Whether to read anew; what is unusable is complained of once. One reload at a time: ``isOver()`` has to follow.
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

    /// The options that have changed and need a restart.
    mutating func took(_ layered: LayeredArguments, files: [String]) -> [String] {
        let changed = Set(self.added.keys).union(layered.added.keys).filter { self.added[$0] != layered.added[$0] }
        self.added = layered.added
        self.files = files
        // Those of before the files were read: a change since then is still to be seen.
        let known = self.stamps
        self.stamps = Self.stamps(files).merging(known) { _, before in before }
            .filter { files.contains($0.key) }
        return changed.subtracting(Command.reloadable).sorted().map { "--\($0)" }
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
