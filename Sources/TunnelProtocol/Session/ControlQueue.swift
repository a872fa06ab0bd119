//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore

/// Control frames that wait to be sent, in order.
struct ControlQueue: Sendable {
    private var frames: Deque<SessionFrame> = []
    /// The client's IDENTITY frame. It accompanies OPEN_STREAM until the exit has acknowledged it; then it is nil.
    private var identity: ClientIdentity?
    private let limit: Int

    /// - Parameters:
    ///   - identity: The client's identity, if the exit requires one.
    ///   - configuration: The limit on streams, which bounds the queue.
    init(identity: ClientIdentity?, _ configuration: SessionConfiguration) {
        self.identity = identity
        self.limit = 1_024 + 8 * configuration.maximumStreams
    }

    var isEmpty: Bool { self.frames.isEmpty }
    var count: Int { self.frames.count }

    /// Whether the queue is so long that frames which the peer does not need should not be added. The peer may cause
    /// frames without acknowledging any.
    var isFull: Bool { self.frames.count >= self.limit }

    mutating func append(_ frame: SessionFrame) { self.frames.append(frame) }

    /// Sends a renewed identity.
    mutating func renew(_ identity: ClientIdentity) {
        self.identity = identity
        self.append(.identity(identity))
    }

    func isUnacknowledged(_ identity: ClientIdentity) -> Bool { self.identity == identity }

    mutating func identityWasAcknowledged(_ identity: ClientIdentity) {
        if self.identity == identity { self.identity = nil }
    }

    mutating func removeAll() { self.frames = [] }

    /// Moves frames into a packet while they fit.
    ///
    /// - Parameters:
    ///   - packet: The packet.
    ///   - size: Maximum size of the packet in bytes.
    ///   - written: Receives the frames.
    ///   - streams: Used to omit OPEN_STREAM of a stream that was reset before it was sent. RESET_STREAM alone is enough,
    ///     because the exit answers it for unknown streams.
    mutating func write(into packet: inout ByteBuffer, size: Int, _ written: inout [SessionFrame], streams: StreamSet) {
        var identity = self.identity.map(SessionFrame.identity)
        while let frame = self.frames.first {
            // What goes into the packet of OPEN_STREAM, because packets may be reordered.
            var introduction: SessionFrame?
            var credit: SessionFrame?
            if case .openStream(let id, _) = frame {
                guard streams.isUsable(id) else {
                    self.frames.removeFirst()
                    continue
                }
                introduction = identity
                credit = streams.limit(ofRequested: id).map { .maximumStreamData(id, $0) }
            }
            let additional = (introduction?.maximumLength ?? 0) + (credit?.maximumLength ?? 0)
            guard packet.readableBytes + frame.maximumLength + additional < size else { return }
            self.frames.removeFirst()
            if let introduction {
                introduction.encode(into: &packet)
                written.append(introduction)
                identity = nil
            }
            frame.encode(into: &packet)
            written.append(frame)
            if let credit {
                credit.encode(into: &packet)
                written.append(credit)
            }
        }
    }
}
