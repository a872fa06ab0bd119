//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// Messages of unknown clients that wait because their rate limit is reached. It performs no I/O.
///
/// Relays take turns, so that a flood on one of them does not delay the messages of the others. Of each relay, the message
/// with the most proof of work goes first (NIP-13). A client adds work to each repetition of its offer, so it gets in
/// unless the flood spends more processor time on every message than the client does.
///
/// A message waits once for each relay, however often it is repeated.
struct StrangerQueue<Element, ID: Hashable> {
    private struct Entry {
        let element: Element
        let id: ID
        let work: Int
        let expires: NIODeadline
    }

    /// Maximum number of messages of each relay.
    static var capacity: Int { 64 }
    /// How long a message waits. A client repeats its offer.
    static var lifetime: TimeAmount { .seconds(2) }

    /// By relay, in ascending order of work. Of equal ones, the oldest is the last.
    private var lanes: [PathID: [Entry]] = [:]
    /// The relays with messages, the next one first.
    private var order: [PathID] = []

    var isEmpty: Bool { self.order.isEmpty }

    /// Adds a message. Returns false if a message was dropped: this one, or the one with the least work that made room.
    ///
    /// - Parameters:
    ///   - id: Identifies the message. A message that waits already is dropped.
    ///   - work: The leading zero bits of the event's ID.
    mutating func insert(_ element: Element, id: ID, work: Int, from relay: PathID, at now: NIODeadline) -> Bool {
        let entry = Entry(element: element, id: id, work: work, expires: now + Self.lifetime)
        var lane = self.lanes[relay] ?? []
        guard !lane.contains(where: { $0.id == id }) else { return false }
        let isFull = lane.count >= Self.capacity
        if isFull {
            guard let least = lane.first, least.work < work else { return false }
            lane.removeFirst()
        }
        lane.insert(entry, at: lane.firstIndex { $0.work >= work } ?? lane.count)
        self.lanes[relay] = lane
        if !self.order.contains(relay) { self.order.append(relay) }
        return !isFull
    }

    /// Removes and returns the next message that has not expired.
    mutating func next(at now: NIODeadline) -> (element: Element, relay: PathID)? {
        while !self.order.isEmpty {
            let relay = self.order.removeFirst()
            var lane = self.lanes[relay] ?? []
            lane.removeAll { $0.expires <= now }
            guard let entry = lane.popLast() else {
                self.lanes[relay] = nil
                continue
            }
            self.lanes[relay] = lane.isEmpty ? nil : lane
            if !lane.isEmpty { self.order.append(relay) }
            return (entry.element, relay)
        }
        return nil
    }
}
