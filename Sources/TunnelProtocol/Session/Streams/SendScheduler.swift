//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore

/// The order in which streams send. Streams that sent little in their last turn or have lost data go first; the others
/// take turns.
struct SendScheduler: Sendable {
    private var eager: Deque<StreamID> = []
    private var queued: Deque<StreamID> = []
    /// Streams that wait for the session's send credit.
    private var blocked: Deque<StreamID> = []
    /// All streams that are in one of the queues.
    private var members: Set<StreamID> = []
    /// Number of stream bytes that wait to be sent, for the first time or again.
    private(set) var waitingBytes = 0

    /// A stream that sent fewer bytes than this in its last turn does not count as a bulk transfer.
    private static let smallTurn = 4_096
    /// Maximum number of streams among which a packet is divided. Each frame costs the receiver a system call.
    private static let maximumStreamsPerPacket = 4
    /// Minimum size of a turn in bytes.
    private static let minimumTurn = 1_024

    /// Maximum number of bytes that count as a small message.
    static let smallMessage = 4_096

    /// Whether no stream can send.
    var isEmpty: Bool { self.eager.isEmpty && self.queued.isEmpty }

    /// Which streams may use a packet.
    enum Selection: Hashable, Sendable {
        case all
        case smallMessages
        /// All streams except those with small messages.
        case bulk
    }

    /// Maximum number of eager streams among which a message is looked for.
    private static let maximumSearch = 16

    /// The position of the first eager stream that has only a small message to send.
    private func smallMessage(_ streams: StreamTable) -> Int? {
        self.eager.prefix(Self.maximumSearch).firstIndex {
            (streams.waitingBytes(of: $0) ?? 0) <= Self.smallMessage
        }
    }

    /// The position of the first eager stream that has more to send.
    private func largeMessage(_ streams: StreamTable) -> Int? {
        self.eager.prefix(Self.maximumSearch).firstIndex {
            (streams.waitingBytes(of: $0) ?? 0) > Self.smallMessage
        }
    }

    /// Whether a stream has more than a small message to send.
    func hasBulk(_ streams: StreamTable) -> Bool { !self.queued.isEmpty || self.largeMessage(streams) != nil }

    /// Whether an eager stream has only a small message to send.
    func hasSmallMessage(_ streams: StreamTable) -> Bool { self.smallMessage(streams) != nil }

    /// Number of bytes that the peer allows the next stream to send that has more than a small message.
    func room(_ streams: StreamTable) -> UInt64 {
        let next = self.largeMessage(streams).map { self.eager[$0] } ?? self.queued.first
        return next.flatMap { streams[$0]?.send.room } ?? 0
    }

    // MARK: Order

    /// Queues a stream that has something to send. Does nothing if the stream is already in a queue.
    mutating func add(_ id: StreamID, _ streams: StreamTable) {
        guard let lastTurn = streams[id]?.lastTurn, self.members.insert(id).inserted else { return }
        if lastTurn < Self.smallTurn { self.eager.append(id) } else { self.queued.append(id) }
    }

    /// Removes a stream that has ended, whether or not it is queued.
    mutating func remove(_ id: StreamID) {
        guard self.members.remove(id) != nil else { return }
        self.eager.removeAll { $0 == id }
        self.queued.removeAll { $0 == id }
        self.blocked.removeAll { $0 == id }
    }

    /// Queues all streams that wait for credit behind the others, because the session got some.
    mutating func releaseBlocked() {
        self.queued.append(contentsOf: self.blocked)
        self.blocked = []
    }

    /// Removes and returns the stream whose turn it is. Small messages come first.
    private mutating func next(_ selection: Selection, _ streams: StreamTable) -> StreamID? {
        let id: StreamID?
        if selection != .bulk, let index = self.smallMessage(streams) {
            id = self.eager.remove(at: index)
        } else if selection == .smallMessages {
            id = nil
        } else if let index = self.largeMessage(streams) {
            id = self.eager.remove(at: index)
        } else {
            id = self.queued.popFirst()
        }
        if let id { self.members.remove(id) }
        return id
    }

    // MARK: Bytes

    /// Queues the bytes of a lost frame to be sent again. They need no session credit, so a blocked stream is queued, too.
    mutating func lost(_ chunk: SendStream.Chunk, of id: StreamID, in streams: inout StreamTable) {
        guard let before = streams[id]?.send.waitingBytes, streams[id]?.phase != .reset else { return }
        streams[id]?.send.lost(chunk)
        self.waitingBytes += (streams[id]?.send.waitingBytes ?? before) - before
        if self.members.contains(id), let place = self.blocked.firstIndex(of: id) {
            self.blocked.remove(at: place)
            self.members.remove(id)
        }
        if self.members.insert(id).inserted { self.eager.append(id) }
    }

    /// Counts bytes that were given to a stream.
    mutating func added(_ bytes: Int) { self.waitingBytes += bytes }

    /// Counts bytes that a stream no longer sends.
    mutating func dropped(_ bytes: Int) { self.waitingBytes -= bytes }

    /// Writes STREAM frames of the streams whose turn it is into a packet.
    ///
    /// - Parameters:
    ///   - packet: The packet.
    ///   - size: Maximum size of the packet in bytes.
    ///   - selection: The streams that may use the packet.
    ///   - frames: Receives the frames.
    ///   - streams: The streams.
    ///   - credit: The send credit of the session.
    ///   - budget: The send buffers of all streams.
    ///   - context: The time. Receives the credit that the driver gets for each stream.
    mutating func write(
        into packet: inout ByteBuffer,
        size: Int,
        _ selection: Selection,
        _ frames: inout [SessionFrame],
        _ streams: inout StreamTable,
        _ credit: inout CreditLedger,
        _ budget: inout SendBudget,
        _ context: inout SessionContext
    ) {
        let sending = self.eager.count + self.queued.count
        let competing = min(Self.maximumStreamsPerPacket, max(1, sending))
        let turn = max(Self.minimumTurn, size / competing)
        while packet.readableBytes + SessionFrame.streamOverhead + 1 < size {
            guard let id = self.next(selection, streams) else { return }
            let written = streams[id]?.write(
                into: &packet,
                size: size,
                turn: turn,
                &frames,
                credit: &credit,
                budget: &budget,
                among: sending,
                &context
            )
            guard let written else { continue }
            self.waitingBytes -= written.bytes
            if written.isBlocked {
                self.members.insert(id)
                self.blocked.append(id)
            } else if written.hasMore {
                self.members.insert(id)
                self.queued.append(id)
            }
        }
    }
}
