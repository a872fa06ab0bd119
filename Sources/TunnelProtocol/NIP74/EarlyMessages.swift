//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore

/// Messages that arrived before the CONNECT of their stream. They are kept for some time, up to a number of bytes.
struct EarlyMessages {
    private struct Entry {
        let message: NIP74Message
        let size: Int
        let expires: NIODeadline
    }

    private let limit: Int
    private let lifetime: TimeAmount
    private var entries: Deque<Entry> = []
    private var bytes = 0

    /// - Parameters:
    ///   - limit: Maximum number of bytes.
    ///   - lifetime: How long a message is kept.
    init(limit: Int, lifetime: TimeAmount) {
        self.limit = limit
        self.lifetime = lifetime
    }

    var isEmpty: Bool { self.entries.isEmpty }

    /// When the oldest message expires.
    var nextDeadline: NIODeadline? { self.entries.first?.expires }

    /// Whether there is a message of the stream with this UUID.
    func contains(_ key: String) -> Bool { self.entries.contains { $0.message.key == key } }

    /// Keeps a message. Returns false if there is no room.
    mutating func insert(_ message: NIP74Message, at now: NIODeadline) -> Bool {
        let size = Self.size(of: message)
        guard self.bytes + size <= self.limit else { return false }
        self.entries.append(Entry(message: message, size: size, expires: now + self.lifetime))
        self.bytes += size
        return true
    }

    /// Removes and returns the messages of the stream with this UUID, in order.
    mutating func remove(_ key: String) -> [NIP74Message] {
        guard self.contains(key) else { return [] }
        let own = self.entries.filter { $0.message.key == key }
        self.entries.removeAll { $0.message.key == key }
        self.bytes -= own.reduce(0) { $0 + $1.size }
        return own.map(\.message)
    }

    /// Removes the messages that have expired. Returns their number.
    mutating func expire(at now: NIODeadline) -> Int {
        var count = 0
        while let first = self.entries.first, first.expires <= now {
            self.entries.removeFirst()
            self.bytes -= first.size
            count += 1
        }
        return count
    }

    /// The number of bytes that a message counts against the limit.
    private static func size(of message: NIP74Message) -> Int {
        let payload =
            switch message.payload {
            case .bytes(let bytes), .text(let bytes): bytes.count
            case nil: 0
            }
        return payload + message.destination.utf8.count + (message.entryPublicAddress?.utf8.count ?? 0) + overhead
    }

    /// Estimated memory of a message in bytes without its fields.
    private static let overhead = 256
}
