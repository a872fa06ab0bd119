//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Logging
import NIOCore
import Observability
import Tunnel

/// The implementation shared by the roles that run an entry.
extension RoleCommand where Running == EntryService, Configuration == EntryConfiguration {
    var watchedFiles: [String] { [AliasFile.stateFile().path] }

    static func report(_ running: EntryService, into report: inout StatusReport) async {
        // This fails only while the process ends.
        if let status = try? await running.status() { report.take(status) }
    }

    func probe(_ configuration: Configuration, _ probe: inout ConfigurationProbe) async {
        if let path = configuration.pinsFile { probe.checkWritable(path, "pinned exits", isRequired: false) }
        if let path = configuration.ticketFolder {
            probe.checkWritable(path, "tickets", isRequired: false, isFolder: true)
        }
    }

    static func reload(_ running: EntryService, _ configuration: Configuration, logger: Logger) async throws {
        try await running.update(configuration)
    }

    static func stop(_ running: EntryService, timeout: TimeAmount, logger: Logger) async throws {
        try await running.stop(timeout: timeout)
        logger.info("\(Self.configuration.commandName ?? "") stopped")
    }
}
