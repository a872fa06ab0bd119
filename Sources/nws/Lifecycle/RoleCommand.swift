//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Logging
import NIOCore
import Observability
import ServiceLifecycle
import UnixSignals

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
    var watchedFiles: [String] { get }
    /// Starts the role. It must call `running` before it waits for anything, so that a signal can stop the role.
    func start(_ configuration: Configuration, logger: Logger, running: @Sendable (Running) -> Void) async throws
    /// Applies the reloadable options of `configuration`.
    static func reload(_ running: Running, _ configuration: Configuration, logger: Logger) async throws
    /// Checks files, folders and services for `--check-config`.
    func probe(_ configuration: Configuration, _ probe: inout ConfigurationProbe) async
    /// Services that run beside the role.
    func companions(
        _ role: StartedRole<Running>,
        _ configuration: Configuration,
        logger: Logger
    ) throws -> [any Service]
    /// Stops the role.
    ///
    /// - Parameter timeout: How long open streams may continue.
    static func stop(_ running: Running, timeout: TimeAmount, logger: Logger) async throws
}

extension RoleCommand {
    func run() async throws { try await self.runRole() }

    /// Runs until a signal stops the role.
    func runRole() async throws {
        try await reportingErrors {
            // Trapped first, because SIGHUP ends a process that does not handle it.
            let hangups = await UnixSignalsSequence(trapping: .sighup)
            ProcessSetup.raiseFileLimit()
            let logger = self.common.logger("nws.\(Self.configuration.commandName ?? "")")
            let timeout = self.shutdownTimeout
            guard (0...600).contains(timeout) else {
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
                var probe = ConfigurationProbe()
                await self.probe(configuration, &probe)
                return try probe.report()
            }
            let role = StartedRole<Running>()
            var services: [any Service] = [UnusedMemory()]
            if let heartbeat = Heartbeat(ServiceManager()) { services.append(heartbeat) }
            // Bind the admin server first, so that the role does not announce itself if that fails.
            if let pages { services.append(try await self.adminService(pages, role, logger: logger)) }
            services += try self.companions(role, configuration, logger: logger)
            services.append(RoleService(self, configuration, role: role, timeout: timeout, logger: logger))
            // Stops first: a role that is stopping is not reloaded.
            services.append(
                ReloadService<Self>(hangups, files: self.files, role: role, logger: logger)
            )
            try await runServices(services, shutdownTimeout: .seconds(timeout)) {
                // A second signal: open streams end now, and the peers are told.
                if let running = role.current { try? await Self.stop(running, timeout: .zero, logger: logger) }
            }
        }
    }

    private func adminService(
        _ pages: AdminServer.Configuration,
        _ role: StartedRole<Running>,
        logger: Logger
    ) async throws -> AdminService<Self> {
        let report = StatusReport(
            role: Self.configuration.commandName ?? "",
            version: Version.text,
            name: "",
            startedAt: ProcessMetrics.startedAt
        )
        let server = try await AdminOptions.start(pages, report: report, logger: logger)
        return AdminService(server, role: role, logger: logger)
    }

    func companions(
        _ role: StartedRole<Running>,
        _ configuration: Configuration,
        logger: Logger
    ) throws -> [any Service] { [] }

    /// The files that are watched for changes.
    var files: [String] { [LayeredArguments.lastFile].compactMap { $0 } + self.watchedFiles }
}
