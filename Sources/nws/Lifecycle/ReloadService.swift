//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Logging
import ServiceLifecycle
import UnixSignals

/// Reloads the configuration of a role on SIGHUP, and when its configuration file or a watched file changes.
actor ReloadService<Command: RoleCommand>: Service {
    private let hangups: UnixSignalsSequence
    private var changes: ConfigurationChanges
    private let role: StartedRole<Command.Running>
    private let logger: Logger

    /// Interval at which files are checked for changes. It is the most frequent cause for an idle node to wake.
    private static var interval: Duration { .seconds(2) }

    /// - Parameters:
    ///   - hangups: SIGHUP.
    ///   - files: The files to watch.
    ///   - role: The role.
    ///   - logger: Receives the result of each reload.
    init(_ hangups: UnixSignalsSequence, files: [String], role: StartedRole<Command.Running>, logger: Logger) {
        self.hangups = hangups
        self.changes = ConfigurationChanges(files: files)
        self.role = role
        self.logger = logger
    }

    /// Waits for changes until the process shuts down.
    func run() async throws {
        let hangups = self.hangups
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                group.addTask {
                    for await _ in hangups { await self.reload(isForced: true) }
                }
                group.addTask {
                    while (try? await Task.sleep(for: Self.interval)) != nil { await self.reload(isForced: false) }
                }
            }
        }
    }

    private func reload(isForced: Bool) async {
        guard let running = self.role.current, self.changes.beginReload(isForced: isForced) else { return }
        defer { self.changes.endReload() }
        let layered: LayeredArguments
        do {
            layered = try LayeredArguments.current()
            let command = try Command.parse(layered.ofCommand)
            // Watched before they are read, because a file that is missing or invalid may be the reason for a failure.
            self.changes.watch(command.files)
            let configuration = try ProcessSetup.$isReloading.withValue(true) {
                try command.makeConfiguration(Settings(), logger: self.logger)
            }
            try await Command.reload(running, configuration, logger: self.logger)
        } catch {
            let reason = (error as? CommandError)?.message ?? Command.message(for: error)
            self.logger.error(
                "cannot load the configuration; keeping the previous configuration",
                metadata: ["reason": "\(LayeredArguments.explaining(reason))"]
            )
            return
        }
        self.logger.notice("configuration reloaded")
        let fixed = self.changes.applied(layered)
        if !fixed.isEmpty {
            self.logger.warning(
                "some changes take effect only after a restart",
                metadata: ["options": "\(fixed.joined(separator: " "))"]
            )
        }
    }
}
