//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore
import NostrCrypto
import TunnelProtocol

/// Measures the session state machine alone: a client and an exit that pass packets to each other.
struct SessionLoop {
    /// Number of streams that share the bytes.
    let streams: Int
    /// Whether the packets travel in sealed datagrams of a direct path. The events of relays are left out.
    var isDirect = false

    /// Returns the seconds that it takes to carry `bytes` from the exit to the client, after the streams were opened.
    func run(bytes: Int) -> Double {
        var configuration = SessionConfiguration()
        configuration.usesDatagrams = self.isDirect
        configuration.maximumStreams = max(self.streams, configuration.maximumStreams)
        let moment = Moment(monotonic: .uptimeNanoseconds(1), seconds: 1_800_000_000)
        var nanoseconds: UInt64 = 1
        var now: Moment { Moment(monotonic: .uptimeNanoseconds(nanoseconds), seconds: 1_800_000_000) }
        let parameters = SessionParameters(configuration)
        var ends = [SessionStateMachine.Role.client, .exit].map {
            SessionStateMachine(role: $0, configuration: configuration, peer: parameters, now: moment)
        }
        let path: PathID = self.isDirect ? .direct : PathID(rawValue: 0)
        let description =
            self.isDirect
            ? .direct(packet: DirectPath.basePacket, largest: DirectPath.largestPacket, skippedNumbers: .zero)
            : PathDescription(relay: "ws://r.example", maximumPlaintext: 40_960, createdAtUpperLimit: nil)
        let secret = DatagramSecret(bytes: Bytes32.sha256(of: [1]))
        var sealers = [false, true].map { DatagramSealer(secret, isExit: $0) }
        for index in ends.indices { ends[index].addPath(path, description, at: now) }
        for raw in 1...UInt64(self.streams) {
            let request = StreamRequest(destination: "x", port: 1)
            ends[0].open(StreamID(rawValue: raw), request, at: now)
        }
        let chunk = ByteBuffer(repeating: 7, count: 16 << 10)
        var credit: [StreamID: Int] = [:]
        // Streams that may send a chunk, once for each.
        var ready: Deque<StreamID> = []
        var received = 0
        var sent = 0
        var start: Double?
        while received < bytes {
            nanoseconds += 20_000
            var isIdle = true
            for index in ends.indices {
                var datagrams: [DatagramSealer.Opened] = []
                while let action = ends[index].nextAction() {
                    isIdle = false
                    switch action {
                    case .publish(let token, let plaintext, _, _, _, _) where self.isDirect:
                        let connection = ConnectionID(rawValue: 1)
                        var datagram = ByteBuffer()
                        try? sealers[index].seal(
                            packet: plaintext,
                            number: token.number,
                            to: connection,
                            appendingTo: &datagram
                        )
                        if let opened = sealers[1 - index].open(datagram) { datagrams.append(opened) }
                    case .publish(let token, let plaintext, let createdAt, _, _, _):
                        ends[index].published(token, .accepted(path), at: now)
                        ends[1 - index].receive(
                            plaintext,
                            createdAt: createdAt,
                            generation: 0,
                            path: path,
                            at: now
                        )
                    case .incoming(let id, _): ends[index].connected(id, at: now)
                    case .credit(let id, let bytes) where index == 1:
                        var room = credit[id, default: 0] + bytes
                        while room >= chunk.readableBytes {
                            room -= chunk.readableBytes
                            ready.append(id)
                        }
                        credit[id] = room
                    case .data(let id, let data):
                        received += data.readableBytes
                        ends[index].consumed(id, data.readableBytes, at: now)
                    default: break
                    }
                }
                if !datagrams.isEmpty { ends[1 - index].receive(datagrams, at: now) }
            }
            if start == nil, credit.count == self.streams { start = seconds() }
            while start != nil, sent < bytes, let id = ready.popFirst() {
                sent += chunk.readableBytes
                ends[1].send(id, chunk, at: now)
                isIdle = false
            }
            // What was put in above is sent when the driver calls, which is due at once.
            for index in ends.indices where ends[index].nextDeadline.map({ $0 <= now.monotonic }) ?? false {
                ends[index].timeout(at: now)
            }
            guard isIdle else { continue }
            // Nothing is left to do now, so advance the clock to the next timer.
            if let deadline = ends.compactMap(\.nextDeadline).min() {
                nanoseconds = max(nanoseconds, deadline.uptimeNanoseconds)
            }
        }
        return seconds() - (start ?? seconds())
    }
}
