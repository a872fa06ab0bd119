//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule

/// The streams of a ``NIP74StateMachine``, by identifier, by UUID, and by messages in flight.
struct NIP74StreamTable {
    private var streams: [StreamID: NIP74Stream] = [:]
    private var byKey: [String: StreamID] = [:]
    /// The streams of messages in flight.
    private var owners: [MessageToken: StreamID] = [:]
    private(set) var ended: EndedStreams

    /// - Parameter rememberedStreams: Maximum number of ended streams that are remembered.
    init(rememberedStreams: Int) { self.ended = EndedStreams(limit: rememberedStreams) }

    subscript(id: StreamID) -> NIP74Stream? {
        get { self.streams[id] }
        _modify { yield &self.streams[id] }
    }

    /// The stream with this UUID.
    subscript(key: String) -> StreamID? { self.byKey[key] }

    var count: Int { self.streams.count }

    /// Whether there is no stream and no message in flight.
    var isEmpty: Bool { self.streams.isEmpty && self.owners.isEmpty }

    /// The only stream; nil if there is none or more than one.
    var only: StreamID? { self.streams.count == 1 ? self.streams.keys.first : nil }

    /// The identifiers in ascending order.
    var identifiers: [StreamID] { self.streams.keys.sorted { $0.rawValue < $1.rawValue } }

    /// Whether a stream with this UUID exists or has ended.
    func isKnown(_ key: String) -> Bool { self.byKey[key] != nil || self.ended.contains(key) }

    mutating func insert(_ stream: NIP74Stream) {
        self.streams[stream.id] = stream
        self.byKey[stream.key] = stream.id
    }

    /// Removes a stream, and remembers that it has ended.
    mutating func remove(_ id: StreamID) {
        guard let stream = self.streams.removeValue(forKey: id) else { return }
        self.byKey[stream.key] = nil
        for message in stream.inFlight { self.owners[message.token] = nil }
        if case .connecting(let token) = stream.phase { self.owners[token] = nil }
        self.ended.insert(stream.key)
    }

    /// Remembers the UUID of a stream that does not exist here, or no longer does.
    mutating func remember(_ key: String, becameSession: Bool = false) {
        self.ended.insert(key, becameSession: becameSession)
    }

    // MARK: Messages in flight

    mutating func own(_ token: MessageToken, _ id: StreamID) { self.owners[token] = id }

    /// Removes a message in flight. Returns its stream.
    mutating func takeOwner(of token: MessageToken) -> StreamID? { self.owners.removeValue(forKey: token) }
}
