//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOPosix
import ServiceLifecycle

/// Resets the watchdog of the service manager while all event loops run (sd_watchdog_enabled(3)).
struct Heartbeat: Service {
    private let manager: ServiceManager
    private let interval: Duration

    /// Nil if there is no watchdog.
    init?(_ manager: ServiceManager?) {
        guard let manager, let timeout = manager.watchdogInterval else { return nil }
        self.manager = manager
        // Half of the timeout, as the service manager recommends.
        self.interval = timeout / 2
    }

    /// Resets the watchdog until the process stops.
    func run() async throws {
        try await cancelWhenGracefulShutdown {
            while (try? await Task.sleep(for: self.interval)) != nil {
                // Each event loop must run a task, which shows that none is blocked.
                for loop in MultiThreadedEventLoopGroup.singleton.makeIterator() { try await loop.submit {}.get() }
                self.manager.alive()
            }
        }
    }
}
