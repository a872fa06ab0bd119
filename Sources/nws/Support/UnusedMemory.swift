//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CProcessMemory

/// Gives memory back to the system that a peak left behind: the allocator keeps what, say, the queue for a slow reader took,
/// once for each of its arenas.
struct UnusedMemory {
    /// How often to look.
    static let interval: Duration = .seconds(10)
    /// Less stays for the next peak.
    static let leastBytes = 16 << 20
    /// By how much it has to have grown since memory was given back: what lies scattered stays whatever one does.
    static let growth = 8 << 20

    /// The least that was unused since memory was given back.
    private var rest = 0

    /// Looks, and gives back what is worth it.
    mutating func look() {
        let unused = nws_unused_memory()
        self.rest = min(self.rest, unused)
        guard unused >= max(Self.leastBytes, self.rest + Self.growth) else { return }
        nws_return_unused_memory()
        self.rest = nws_unused_memory()
    }
}
