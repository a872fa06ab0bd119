//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import ServiceLifecycle
import UnixSignals

/// Maximum time from the end of the streams to the end of the process.
private let stopTimeout: Duration = .seconds(4)

/// Runs services until SIGINT or SIGTERM, then stops them in reverse order. A second signal ends the process immediately.
///
/// If a service fails, the others are stopped, too.
///
/// - Parameters:
///   - services: The services.
///   - shutdownTimeout: Time after which the services end their open streams. The services keep this limit themselves.
///     If they have not stopped four seconds later, the process ends.
/// - Throws: The error of the first service that fails.
func runServices(_ services: [any Service], shutdownTimeout: Duration) async throws {
    // Trapped before the services start, so that no signal is missed.
    let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
    let group = ServiceGroup(
        configuration: ServiceGroupConfiguration(
            services: services.map {
                ServiceGroupConfiguration.ServiceConfiguration(
                    service: $0,
                    successTerminationBehavior: .gracefullyShutdownGroup,
                    failureTerminationBehavior: .gracefullyShutdownGroup,
                    // Not the description of the value, which may contain secrets.
                    serviceName: "\(type(of: $0))"
                )
            },
            // Discards the group's debug messages.
            logger: Logger(label: "nws.services") { _ in SwiftLogNoOpLogHandler() }
        )
    )
    try await withThrowingTaskGroup(of: Void.self) { tasks in
        tasks.addTask { await handle(signals, of: group, shutdownTimeout: shutdownTimeout) }
        try await group.run()
        tasks.cancelAll()
    }
}

/// Stops the group at the first signal, and ends the process at the second or if the group does not stop in time.
private func handle(_ signals: UnixSignalsSequence, of group: ServiceGroup, shutdownTimeout: Duration) async {
    await withDiscardingTaskGroup { tasks in
        var isStopping = false
        for await _ in signals {
            if isStopping { endProcess(1) }
            isStopping = true
            await group.triggerGracefulShutdown()
            tasks.addTask {
                // `sleep` throws if everything stopped in time. The user asked for the end, so the status is 0.
                if (try? await Task.sleep(for: shutdownTimeout + stopTimeout)) != nil { endProcess(0) }
            }
        }
        tasks.cancelAll()
    }
}
