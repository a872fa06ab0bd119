//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import ServiceLifecycle
import UnixSignals

/// Maximum time from the end of the streams to the end of the process.
private let stopTimeout: Duration = .seconds(4)

/// Runs services until SIGINT or SIGTERM, then stops them in reverse order. A second signal ends open streams at once, a
/// third one the process.
///
/// If a service fails, the others are stopped, too.
///
/// - Parameters:
///   - services: The services.
///   - hurry: Ends everything at once, and tells the peers. Called at the second signal.
///   - shutdownTimeout: Time after which the services end their open streams. The services keep this limit themselves.
///     If they have not stopped four seconds later, the process ends.
/// - Throws: The error of the first service that fails.
func runServices(
    _ services: [any Service],
    shutdownTimeout: Duration,
    hurry: @escaping @Sendable () async -> Void = {}
) async throws {
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
        tasks.addTask { await handle(signals, of: group, shutdownTimeout: shutdownTimeout, hurry: hurry) }
        try await group.run()
        tasks.cancelAll()
    }
}

/// Maximum time from the second signal to the end of the process.
private let hurryTimeout: Duration = .seconds(1)

/// Stops the group at the first signal, and ends the process soon after the second, at the third, or if the group does not
/// stop in time.
private func handle(
    _ signals: UnixSignalsSequence,
    of group: ServiceGroup,
    shutdownTimeout: Duration,
    hurry: @escaping @Sendable () async -> Void = {}
) async {
    await withDiscardingTaskGroup { tasks in
        var count = 0
        for await _ in signals {
            count += 1
            if count > 2 { endProcess(1) }
            if count == 2 {
                tasks.addTask {
                    if (try? await Task.sleep(for: hurryTimeout)) != nil { endProcess(1) }
                }
                tasks.addTask {
                    await hurry()
                    endProcess(1)
                }
                continue
            }
            await group.triggerGracefulShutdown()
            tasks.addTask {
                // `sleep` throws if everything stopped in time. The user asked for the end, so the status is 0.
                if (try? await Task.sleep(for: shutdownTimeout + stopTimeout)) != nil { endProcess(0) }
            }
        }
        tasks.cancelAll()
    }
}
