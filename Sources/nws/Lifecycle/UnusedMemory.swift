//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CProcess
import ServiceLifecycle

/// Returns unused memory to the system after a peak.
///
/// Otherwise each arena of the allocator keeps it, for example the memory of a queue for a slow client.
struct UnusedMemory: Service {
    /// Interval between checks.
    private static let interval: Duration = .seconds(10)
    /// Minimum number of unused bytes that are returned. Fewer are kept for the next peak.
    private static let leastBytes = 16 << 20
    /// Minimum growth in bytes since memory was last returned. Fragmented memory cannot be returned.
    private static let growth = 8 << 20

    /// Checks until the process stops.
    func run() async throws {
        await cancelWhenGracefulShutdown {
            // Minimum number of unused bytes since memory was last returned.
            var rest = 0
            // `sleep` throws only if the task is cancelled.
            while (try? await Task.sleep(for: Self.interval)) != nil {
                let unused = nws_unused_memory()
                rest = min(rest, unused)
                guard unused >= max(Self.leastBytes, rest + Self.growth) else { continue }
                nws_return_unused_memory()
                rest = nws_unused_memory()
            }
        }
    }
}
