//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore
import Nostr
import NostrCrypto

/// The events that a relay stores, in memory, limited by number and size.
///
/// It has no clock; the caller passes the time. It implements replaceable events (NIP-01), deletion (NIP-09) and
/// expiration (NIP-40).
struct EventStore: Sendable {
    /// The result of inserting an event.
    enum Insertion: Hashable {
        /// The event was added.
        case stored
        /// The store already has this event.
        case duplicate
        /// The store has a newer version of this replaceable event.
        case superseded
        /// The author has deleted the event (NIP-09).
        case deleted
        /// The event is larger than the store.
        case full
    }

    /// The sort key of an event: newest first, and among events of one second the lowest id first (NIP-01).
    struct Position: Comparable {
        let createdAt: Int64
        let id: EventID

        init(createdAt: Int64, id: EventID) {
            self.createdAt = createdAt
            self.id = id
        }

        init(_ event: Event) { self.init(createdAt: event.createdAt, id: event.id) }

        static func < (left: Position, right: Position) -> Bool {
            left.createdAt != right.createdAt
                ? left.createdAt > right.createdAt : left.id.bytes < right.id.bytes
        }
    }

    /// Numbers events in the order in which they were stored.
    typealias Serial = UInt64

    /// A list of positions.
    enum Source: Sendable {
        case id(EventID)
        case author(PublicKey)
        case kind(EventKind)
        case all
    }

    private struct Stored {
        let received: ReceivedEvent
        let serial: Serial
    }

    /// The address of a replaceable or addressable event. Only the newest event with an address is stored (NIP-01).
    private struct Address: Hashable {
        let kind: EventKind
        let author: PublicKey
        let identifier: ByteString

        /// Identifies the address in a few bytes, whatever the length of the identifier.
        var hash: Bytes32 {
            let kind = [
                UInt8(truncatingIfNeeded: self.kind.rawValue >> 8), UInt8(truncatingIfNeeded: self.kind.rawValue),
            ]
            return .sha256(of: kind + self.author.bytes.bytes + Array(self.identifier.bytes))
        }
    }

    /// A change of the store that an archive must save.
    enum Change {
        case added(EventID, createdAt: Int64, json: ByteBuffer)
        case removed(EventID)
    }

    private var limits: RelayLimits
    /// Whether changes are recorded for an archive.
    private let recordsChanges: Bool
    private var changes: [Change] = []
    private var events: [EventID: Stored] = [:]
    private var nextSerial: Serial = 0
    /// The events in the order in which they arrived, with some that were removed.
    private var arrivals: Deque<(serial: Serial, id: EventID)> = []
    private var order: [Position] = []
    private var orderByAuthor: [PublicKey: [Position]] = [:]
    private var orderByKind: [EventKind: [Position]] = [:]
    private var current: [Address: EventID] = [:]
    private var byteCount = 0
    /// Deleted ids with the authors who deleted them, and hashes of deleted addresses with the date of the latest deletion.
    private var deletedIDs: [EventID: Set<PublicKey>] = [:]
    private var deletedAddresses: [Bytes32: Int64] = [:]
    private var deletions: Deque<Deletion> = []

    private enum Deletion {
        case id(EventID, PublicKey)
        case address(Bytes32)
    }

    init(limits: RelayLimits, recordsChanges: Bool = false) {
        self.limits = limits
        self.recordsChanges = recordsChanges
    }

    /// Returns the changes since the last call.
    mutating func takeChanges() -> [Change] {
        guard !self.changes.isEmpty else { return [] }
        defer { self.changes = [] }
        return self.changes
    }

    /// Applies new limits. Events beyond them are removed; those that arrived first go first.
    mutating func update(_ limits: RelayLimits) {
        self.limits = limits
        self.trim()
    }

    /// Number of stored events.
    var count: Int { self.events.count }

    /// Estimated memory of the stored events in bytes. ``RelayLimits/storedBytes`` limits it.
    var bytes: Int { self.byteCount }

    // MARK: Inserting

    /// Inserts an event, and applies it if it is a deletion request. If a limit is exceeded, removes the events
    /// that arrived first.
    ///
    /// - Parameter received: A verified event that is not ephemeral.
    mutating func insert(_ received: ReceivedEvent) -> Insertion {
        let event = received.event
        guard self.events[event.id] == nil else { return .duplicate }
        // Deleting a deletion has no effect (NIP-09).
        if event.kind != .deletion, self.deletedIDs[event.id]?.contains(event.pubkey) == true { return .deleted }
        let address = Self.address(of: event)
        if let address {
            if !self.deletedAddresses.isEmpty, let until = self.deletedAddresses[address.hash], event.createdAt <= until
            {
                return .deleted
            }
            if let old = self.current[address].flatMap({ self.event($0) }) {
                let isNewer =
                    Position(createdAt: event.createdAt, id: event.id)
                    < Position(createdAt: old.createdAt, id: old.id)
                guard isNewer else { return .superseded }
                self.remove(old.id)
            }
            self.current[address] = event.id
        }
        self.add(received)
        if event.kind == .deletion { self.apply(deletion: event) }
        self.trim()
        return self.events[event.id] == nil ? .full : .stored
    }

    private mutating func trim() {
        while self.events.count > self.limits.storedEvents || self.byteCount > self.limits.storedBytes,
            let oldest = self.arrivals.popFirst()
        {
            // By arrival, because events can be dated as their authors like. An event that was removed and stored again
            // has a later number.
            if self.events[oldest.id]?.serial == oldest.serial { self.remove(oldest.id) }
        }
    }

    private mutating func add(_ received: ReceivedEvent) {
        let position = Position(createdAt: received.event.createdAt, id: received.event.id)
        // The event's buffers are slices of a larger read buffer. Copy them, so that the read buffer can be freed.
        let owned = ReceivedEvent(event: received.event.detached(), json: ByteBuffer(received.json.readableBytesView))
        self.events[received.event.id] = Stored(received: owned, serial: self.nextSerial)
        self.arrivals.append((self.nextSerial, received.event.id))
        self.nextSerial += 1
        // Replaceable events are removed long before they are the oldest.
        if self.arrivals.count > 2 * self.events.count + 1_024 {
            self.arrivals.removeAll { self.events[$0.id]?.serial != $0.serial }
        }
        if self.recordsChanges {
            self.changes.append(
                .added(received.event.id, createdAt: received.event.createdAt, json: owned.json)
            )
        }
        Self.insert(position, into: &self.order)
        Self.insert(position, into: &self.orderByAuthor[received.event.pubkey, default: []])
        Self.insert(position, into: &self.orderByKind[received.event.kind, default: []])
        self.byteCount += Self.cost(of: received)
    }

    /// The estimated memory of an event in bytes: its JSON, plus 64 for each tag and for each field of a tag.
    private static func cost(of received: ReceivedEvent) -> Int {
        received.json.readableBytes + received.event.tags.reduce(0) { $0 + 64 + $1.fields.count * 64 }
    }

    private mutating func remove(_ id: EventID) {
        guard let removed = self.events.removeValue(forKey: id)?.received else { return }
        if self.recordsChanges { self.changes.append(.removed(id)) }
        let event = removed.event
        let position = Position(createdAt: event.createdAt, id: id)
        Self.remove(position, from: &self.order)
        Self.remove(position, from: &self.orderByAuthor[event.pubkey, default: []])
        if self.orderByAuthor[event.pubkey]?.isEmpty == true { self.orderByAuthor[event.pubkey] = nil }
        Self.remove(position, from: &self.orderByKind[event.kind, default: []])
        if self.orderByKind[event.kind]?.isEmpty == true { self.orderByKind[event.kind] = nil }
        if let address = Self.address(of: event), self.current[address] == id { self.current[address] = nil }
        self.byteCount -= Self.cost(of: removed)
    }

    private static func insert(_ position: Position, into order: inout [Position]) {
        order.insert(position, at: order.index(of: position))
    }

    private static func remove(_ position: Position, from order: inout [Position]) {
        let index = order.index(of: position)
        if order.indices.contains(index), order[index].id == position.id { order.remove(at: index) }
    }

    private static func address(of event: Event) -> Address? {
        switch event.kind.retention {
        case .replaceable: Address(kind: event.kind, author: event.pubkey, identifier: "")
        case .addressable: Address(kind: event.kind, author: event.pubkey, identifier: event.identifier)
        case .regular, .ephemeral: nil
        }
    }

    // MARK: Deleting (NIP-09)

    private mutating func apply(deletion event: Event) {
        for tag in event.tags {
            guard let value = tag.value else { continue }
            if tag.name == "e", let bytes = Bytes32(hex: value.text) {
                let id = EventID(bytes)
                if self.deletedIDs[id, default: []].insert(event.pubkey).inserted {
                    self.deletions.append(.id(id, event.pubkey))
                }
                if let target = self.event(id), target.pubkey == event.pubkey, target.kind != .deletion {
                    self.remove(id)
                }
            } else if tag.name == "a", let address = Self.parseAddress(value), address.author == event.pubkey {
                let hash = address.hash
                if self.deletedAddresses[hash] == nil { self.deletions.append(.address(hash)) }
                self.deletedAddresses[hash] = max(self.deletedAddresses[hash] ?? .min, event.createdAt)
                if let target = self.current[address].flatMap({ self.event($0) }),
                    target.createdAt <= event.createdAt
                {
                    self.remove(target.id)
                }
            }
        }
        while self.deletions.count > self.limits.rememberedDeletions, let oldest = self.deletions.popFirst() {
            switch oldest {
            case .id(let id, let author):
                self.deletedIDs[id]?.remove(author)
                if self.deletedIDs[id]?.isEmpty == true { self.deletedIDs[id] = nil }
            case .address(let address):
                self.deletedAddresses[address] = nil
            }
        }
    }

    /// Parses `kind:author:identifier`. The identifier may contain colons.
    private static func parseAddress(_ value: ByteString) -> Address? {
        let parts = value.bytes.split(separator: UInt8(ascii: ":"), maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count >= 2, let kind = UInt16(String(decoding: parts[0], as: UTF8.self)),
            let author = Bytes32(hex: String(decoding: parts[1], as: UTF8.self))
        else { return nil }
        return Address(
            kind: EventKind(rawValue: kind),
            author: PublicKey(unchecked: author),
            identifier: parts.count == 3 ? ByteString(Array(parts[2])) : ""
        )
    }

    // MARK: Querying

    private func event(_ id: EventID) -> Event? { self.events[id]?.received.event }

    /// Returns an event that was stored before the one with the number `end`.
    func event(_ id: EventID, before end: Serial) -> Event? {
        self.events[id].flatMap { $0.serial < end ? $0.received.event : nil }
    }

    func received(_ id: EventID) -> ReceivedEvent? { self.events[id]?.received }

    /// Begins a query.
    func query(_ filters: [Filter]) -> EventQuery {
        EventQuery(filters, before: self.nextSerial, resultLimit: self.limits.resultLimit)
    }

    /// Returns lists of positions that together include all events that match `filter`.
    func sources(for filter: Filter) -> [Source] {
        if let ids = filter.ids { return ids.map(Source.id) }
        if let authors = filter.authors { return authors.map(Source.author) }
        if let kinds = filter.kinds { return kinds.map(Source.kind) }
        return [.all]
    }

    /// Returns a list of positions, newest first.
    func positions(in source: Source) -> [Position] {
        switch source {
        case .id(let id): self.event(id).map { [Position($0)] } ?? []
        case .author(let author): self.orderByAuthor[author] ?? []
        case .kind(let kind): self.orderByKind[kind] ?? []
        case .all: self.order
        }
    }

    /// Removes events that a query found to be expired.
    mutating func remove(expired ids: [EventID]) {
        for id in ids { self.remove(id) }
    }
}

extension [EventStore.Position] {
    /// The index of `position` in a sorted array, or the index at which to insert it.
    fileprivate func index(of position: EventStore.Position) -> Int {
        self.firstIndex { !($0 < position) }
    }

    /// The index of the first position to examine.
    ///
    /// - Parameters:
    ///   - examined: The last one that was examined.
    ///   - until: The latest date, in seconds since 1970.
    func start(after examined: EventStore.Position?, until: Int64?) -> Int {
        if let examined { return self.firstIndex { examined < $0 } }
        guard let until else { return 0 }
        return self.firstIndex { $0.createdAt <= until }
    }

    /// The first index whose element satisfies a condition that all following ones satisfy, too.
    private func firstIndex(_ condition: (EventStore.Position) -> Bool) -> Int {
        var low = 0
        var high = self.count
        while low < high {
            let middle = (low + high) / 2
            if condition(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}

extension Event {
    /// Returns a copy of the event whose content has its own buffer.
    fileprivate func detached() -> Event {
        Event(
            id: self.id,
            pubkey: self.pubkey,
            createdAt: self.createdAt,
            kind: self.kind,
            tags: self.tags,
            content: ByteBuffer(self.content.readableBytesView),
            signature: self.signature
        )
    }
}
