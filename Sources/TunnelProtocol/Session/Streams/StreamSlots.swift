//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Streams by their identifiers. Unlike a dictionary, it changes a stream in place: a stream has many fields, and each packet
/// changes several of them.
struct StreamSlots: Sendable {
    /// The first slot is always empty. It stands for streams that do not exist.
    private var slots: [SessionStream?] = [nil]
    private var free: [Int] = []
    private var places: [StreamID: Int] = [:]
    /// The stream that was changed last. Nearly always it is also the next one.
    private var last: (id: StreamID, slot: Int)?

    private static let emptySlot = 0

    private func slot(of id: StreamID) -> Int {
        if let last, last.id == id { return last.slot }
        return self.places[id] ?? Self.emptySlot
    }

    /// The stream, or nil if it does not exist. Do not add or remove streams through this subscript.
    subscript(id: StreamID) -> SessionStream? {
        @inline(__always) _read { yield self.slots.span[self.slot(of: id)] }
        @inline(__always) _modify {
            let slot = self.slot(of: id)
            self.last = (id, slot)
            yield &self.slots[slot]
        }
    }

    func contains(_ id: StreamID) -> Bool { self.slot(of: id) != Self.emptySlot }

    var count: Int { self.places.count }
    var isEmpty: Bool { self.places.isEmpty }
    /// All streams, in no order that has a meaning, but in the same one for the same history.
    var all: some Sequence<SessionStream> { self.slots.lazy.compactMap { $0 } }

    /// Adds a stream, or replaces the one with the same identifier.
    mutating func insert(_ stream: SessionStream) {
        self.last = nil
        let known = self.slot(of: stream.id)
        if known != Self.emptySlot {
            self.slots[known] = stream
        } else if let slot = self.free.popLast() {
            self.slots[slot] = stream
            self.places[stream.id] = slot
        } else {
            self.places[stream.id] = self.slots.count
            self.slots.append(stream)
        }
    }

    mutating func remove(_ id: StreamID) -> SessionStream? {
        guard let slot = self.places.removeValue(forKey: id) else { return nil }
        self.last = nil
        self.free.append(slot)
        let stream = self.slots[slot]
        self.slots[slot] = nil
        return stream
    }
}
