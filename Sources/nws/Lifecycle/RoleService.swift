//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import ServiceLifecycle

/// Starts a role, and stops it when the process shuts down.
struct RoleService<Command: RoleCommand>: Service {
    private let command: Command
    private let configuration: Command.Configuration
    private let role: StartedRole<Command.Running>
    private let timeout: Int
    private let logger: Logger

    private enum Event: Hashable {
        case started
        case shutdown
    }

    /// - Parameters:
    ///   - command: Starts and stops the role.
    ///   - configuration: The configuration with which it starts.
    ///   - role: Receives the running role.
    ///   - timeout: How long open streams may continue, in seconds.
    ///   - logger: The logger of the role.
    init(
        _ command: Command,
        _ configuration: Command.Configuration,
        role: StartedRole<Command.Running>,
        timeout: Int,
        logger: Logger
    ) {
        self.command = command
        self.configuration = configuration
        self.role = role
        self.timeout = timeout
        self.logger = logger
    }

    /// Runs the role until the process shuts down.
    ///
    /// - Throws: The error of starting or stopping the role.
    func run() async throws {
        // A role that starts while the process stops is stopped at once, so that starting it returns.
        let (late, lateRoles) = AsyncStream.makeStream(of: Command.Running.self)
        try await withThrowingTaskGroup(of: Event.self) { group in
            group.addTask {
                defer { lateRoles.finish() }
                try await self.command.start(self.configuration, logger: self.logger) { running in
                    if !self.role.set(running) { lateRoles.yield(running) }
                }
                if !Task.isShuttingDownGracefully { ServiceManager()?.ready() }
                return .started
            }
            group.addTask {
                try await gracefulShutdown()
                return .shutdown
            }
            for try await event in group where event == .shutdown { break }
            ServiceManager()?.stopping()
            if let running = self.role.beginStopping() {
                try await self.stop(running)
            } else {
                for await running in late { try await self.stop(running) }
            }
            group.cancelAll()
            // The first task may fail now because its role was stopped.
            while await group.nextResult() != nil {}
        }
    }

    private func stop(_ running: Command.Running) async throws {
        self.logger.info("stopping; waiting up to \(self.timeout) s for open streams")
        do {
            try await Command.stop(running, timeout: .seconds(Int64(self.timeout)), logger: self.logger)
        } catch {
            throw CommandError.failure("shutdown failed: \(error)")
        }
    }
}
