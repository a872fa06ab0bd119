//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule

/// The UUIDs of streams that have ended, so that late messages are dropped. The oldest are forgotten.
struct EndedStreams {
    private let limit: Int
    private var keys: Set<String> = []
    private var order: Deque<String> = []
    /// Those that became sessions.
    private var accepted: Set<String> = []

    /// - Parameter limit: Maximum number of UUIDs.
    init(limit: Int) { self.limit = limit }

    func contains(_ key: String) -> Bool { self.keys.contains(key) }

    /// Whether the stream with this UUID became a session.
    func wasAccepted(_ key: String) -> Bool { self.accepted.contains(key) }

    /// Records a stream.
    ///
    /// - Parameters:
    ///   - key: The UUID of the stream.
    ///   - wasAccepted: Whether it became a session.
    mutating func insert(_ key: String, wasAccepted: Bool = false) {
        if self.keys.insert(key).inserted { self.order.append(key) }
        if wasAccepted { self.accepted.insert(key) }
        while self.order.count > self.limit, let oldest = self.order.popFirst() {
            self.keys.remove(oldest)
            self.accepted.remove(oldest)
        }
    }
}
