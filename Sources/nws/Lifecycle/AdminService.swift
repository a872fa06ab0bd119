//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import Observability
import ServiceLifecycle

/// The status page and metrics of a role.
struct AdminService<Command: RoleCommand>: Service {
    private let server: AdminServer
    private let role: StartedRole<Command.Running>
    private let logger: Logger

    /// - Parameters:
    ///   - server: The server, which is listening already.
    ///   - role: The role whose state it shows.
    ///   - logger: Receives the address of the status page.
    init(_ server: AdminServer, role: StartedRole<Command.Running>, logger: Logger) {
        self.server = server
        self.role = role
        self.logger = logger
    }

    /// Updates the report from the start of the role until the process shuts down.
    func run() async throws {
        await cancelWhenGracefulShutdown {
            guard let running = await self.role.wait() else { return }
            self.server.setProxyScript(Command.proxyScript(running))
            self.logger.info("status page at http://\(self.server.localAddress.hostAndPort)/")
            Console.line("admin: http://\(self.server.localAddress.hostAndPort)/")
            await self.server.run { report in
                report.name = Command.name(of: running)
                await Command.report(running, into: &report)
                report.problems = ProcessMetrics.problems
            }
        }
        try await self.server.stop()
    }
}
