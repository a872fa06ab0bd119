//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The streams of a session that exist, with their limits, and the identifiers of those that have ended.
struct StreamTable: Sendable {
    private let isExit: Bool
    private let shared: SharedSessionConfiguration
    private var configuration: SessionConfiguration { self.shared.value }
    private let peer: SessionParameters
    private var streams = StreamSlots()
    /// Streams that have ended. Late frames do not open them again (exit).
    private(set) var closed = IntervalSet()
    /// The largest identifier of a stream that was opened (client).
    private var lastOpened: UInt64 = 0
    /// Number of streams that the driver uses. Only these count against the limit.
    private(set) var liveCount = 0

    init(role: SessionStateMachine.Role, configuration: SharedSessionConfiguration, peer: SessionParameters) {
        self.isExit = role == .exit
        self.shared = configuration
        self.peer = peer
    }

    /// The stream, or nil if it does not exist. Do not add or remove streams through this subscript.
    subscript(id: StreamID) -> SessionStream? {
        @inline(__always) _read { yield self.streams[id] }
        @inline(__always) _modify { yield &self.streams[id] }
    }

    /// Number of bytes that a stream has to send; nil if it does not exist.
    func waitingBytes(of id: StreamID) -> Int? { self.streams[id]?.send.waitingBytes }

    var isEmpty: Bool { self.streams.isEmpty }

    /// Whether no stream has existed yet (exit).
    var isUnused: Bool { self.streams.isEmpty && self.closed.isEmpty }

    /// Whether the peer's limit allows another stream.
    var hasRoom: Bool { UInt64(self.liveCount) < self.peer.maximumStreams }

    /// Memory in bytes that received data uses.
    var heldBytes: Int { self.streams.all.reduce(0) { $0 + $1.receive.memory } }

    /// Whether a stream waits for the exit to open it (client).
    var hasRequests: Bool { !self.isExit && self.streams.all.contains { $0.phase == .requested } }

    /// The identifiers in ascending order.
    var identifiers: [StreamID] { self.streams.all.map(\.id).sorted { $0.rawValue < $1.rawValue } }

    // MARK: Adding

    /// Adds a stream that the driver opened (client). Returns false if a limit does not allow it.
    mutating func open(_ id: StreamID, at now: NIODeadline) -> Bool {
        guard self.hasRoom, id.rawValue > self.lastOpened else { return false }
        self.lastOpened = id.rawValue
        self.add(id, isWithDriver: true, at: now)
        self.liveCount += 1
        return true
    }

    private mutating func add(_ id: StreamID, isWithDriver: Bool, at now: NIODeadline) {
        self.streams.insert(
            SessionStream(
                id: id,
                sendLimit: self.peer.maximumStreamData,
                window: self.configuration.initialStreamWindow,
                isWithDriver: isWithDriver,
                now: now
            )
        )
    }

    /// Creates a stream that the client opens (exit). Returns false if it exists or has ended.
    mutating func create(_ id: StreamID, at now: NIODeadline) throws(SessionViolation) -> Bool {
        guard self.isUnopened(id) else { return false }
        // Up to twice the limit, so that excess streams are reset individually.
        guard self.streams.count < 2 * self.configuration.maximumStreams, self.hasRoomForClosed else {
            throw SessionViolation()
        }
        self.add(id, isWithDriver: false, at: now)
        return true
    }

    /// Returns whether a stream exists for which data was received. A client that receives data of a stream which it never
    /// opened reports a violation.
    func exists(_ id: StreamID) throws(SessionViolation) -> Bool {
        if self.streams.contains(id) { return true }
        if !self.isExit, id.rawValue > self.lastOpened { throw SessionViolation() }
        return false
    }

    /// Whether the client has not opened this stream yet (exit).
    func isUnopened(_ id: StreamID) -> Bool {
        self.isExit && id.rawValue > 0 && !self.streams.contains(id) && !self.closed.contains(id.rawValue)
    }

    private var hasRoomForClosed: Bool { self.closed.intervals.count < 2 * self.configuration.maximumStreams }

    // MARK: Use by the driver

    /// Gives a requested stream to the driver (exit). Returns false if the driver has too many.
    mutating func join(_ id: StreamID) -> Bool {
        guard self.liveCount < self.configuration.maximumStreams else { return false }
        self.liveCount += 1
        self.streams[id]?.isWithDriver = true
        return true
    }

    /// Takes a stream from the driver. Returns false if the driver does not have it.
    mutating func leave(_ id: StreamID) -> Bool {
        guard self.streams[id]?.isWithDriver == true else { return false }
        self.streams[id]?.isWithDriver = false
        self.liveCount -= 1
        return true
    }

    // MARK: Removing

    /// Removes a stream. Late frames do not open it again.
    mutating func remove(_ id: StreamID) -> SessionStream? {
        if self.isExit { _ = self.closed.insert(id.rawValue) }
        return self.streams.remove(id)
    }

    /// Records a stream that was reset before it was opened (exit). Returns false if it is known or cannot be recorded.
    mutating func close(unopened id: StreamID) -> Bool {
        guard self.isExit, id.rawValue > 0, !self.closed.contains(id.rawValue), self.hasRoomForClosed else {
            return false
        }
        return self.closed.insert(id.rawValue)
    }

    mutating func removeAll() { self.streams = StreamSlots() }
}
