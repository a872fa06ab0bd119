//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule

/// The UUIDs of CONNECTs that need no more messages: of streams that have ended, of offers that became sessions, and of
/// requests for a reverse connection. Late messages for them are dropped. The oldest are forgotten.
struct EndedStreams {
    private let limit: Int
    private var uuids: Set<String> = []
    private var order: Deque<String> = []
    /// Those of offers that became sessions.
    private var sessions: Set<String> = []

    /// - Parameter limit: Maximum number of UUIDs.
    init(limit: Int) { self.limit = limit }

    func contains(_ uuid: String) -> Bool { self.uuids.contains(uuid) }

    /// Whether the stream with this UUID became a session.
    func becameSession(_ uuid: String) -> Bool { self.sessions.contains(uuid) }

    /// Records a stream.
    ///
    /// - Parameters:
    ///   - uuid: The UUID of the stream.
    ///   - becameSession: Whether it became a session.
    mutating func insert(_ uuid: String, becameSession: Bool = false) {
        if self.uuids.insert(uuid).inserted { self.order.append(uuid) }
        if becameSession { self.sessions.insert(uuid) }
        while self.order.count > self.limit, let oldest = self.order.popFirst() {
            self.uuids.remove(oldest)
            self.sessions.remove(oldest)
        }
    }
}
