//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CProcessMemory

/// Returns unused memory to the system after a peak.
///
/// Otherwise each arena of the allocator keeps it, for example the memory of a queue for a slow client.
struct UnusedMemory {
    /// Interval between checks.
    static let interval: Duration = .seconds(10)
    /// Minimum number of unused bytes that are returned. Fewer are kept for the next peak.
    static let leastBytes = 16 << 20
    /// Minimum growth in bytes since memory was last returned. Fragmented memory cannot be returned.
    static let growth = 8 << 20

    /// Minimum number of unused bytes since memory was last returned.
    private var rest = 0

    /// Returns unused memory if there is enough of it.
    mutating func look() {
        let unused = nws_unused_memory()
        self.rest = min(self.rest, unused)
        guard unused >= max(Self.leastBytes, self.rest + Self.growth) else { return }
        nws_return_unused_memory()
        self.rest = nws_unused_memory()
    }
}
