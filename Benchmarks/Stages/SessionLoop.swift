//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// Measures the session state machine alone: a client and an exit that pass packets to each other directly.
struct SessionLoop {
    /// Number of streams that share the bytes.
    let streams: Int

    /// Returns the seconds that it takes to carry `bytes` from the exit to the client.
    func run(bytes: Int) -> Double {
        var configuration = SessionConfiguration()
        configuration.maximumStreams = max(self.streams, configuration.maximumStreams)
        let moment = Moment(monotonic: .uptimeNanoseconds(1), seconds: 1_800_000_000)
        var nanoseconds: UInt64 = 1
        var now: Moment { Moment(monotonic: .uptimeNanoseconds(nanoseconds), seconds: 1_800_000_000) }
        let parameters = SessionParameters(configuration)
        var ends = [SessionStateMachine.Role.client, .exit].map {
            SessionStateMachine(role: $0, configuration: configuration, peer: parameters, now: moment)
        }
        let path = PathID(rawValue: 0)
        let description = PathDescription(
            relay: "ws://r.example",
            maximumPlaintext: 40_960,
            createdAtUpperLimit: nil
        )
        for index in ends.indices { ends[index].addPath(path, description, at: now) }
        for raw in 1...UInt64(self.streams) {
            let request = StreamRequest(destination: "x", port: 1)
            ends[0].open(StreamID(rawValue: raw), request, at: now)
        }
        let chunk = ByteBuffer(repeating: 7, count: 16 << 10)
        var credit: [StreamID: Int] = [:]
        var received = 0
        var sent = 0
        let start = seconds()
        while received < bytes {
            nanoseconds += 20_000
            var isIdle = true
            for index in ends.indices {
                while let action = ends[index].nextAction() {
                    isIdle = false
                    switch action {
                    case .publish(let token, let plaintext, let createdAt, _, _):
                        ends[index].published(token, .accepted(path), at: now)
                        ends[1 - index].receive(plaintext, createdAt: createdAt, generation: 0, path: path, at: now)
                    case .incoming(let id, _): ends[index].connected(id, at: now)
                    case .credit(let id, let bytes) where index == 1: credit[id, default: 0] += bytes
                    case .data(let id, let data):
                        received += data.readableBytes
                        ends[index].consumed(id, data.readableBytes, at: now)
                    default: break
                    }
                }
            }
            for (id, room) in credit where room >= chunk.readableBytes && sent < bytes + (1 << 20) {
                credit[id] = room - chunk.readableBytes
                sent += chunk.readableBytes
                ends[1].send(id, chunk, at: now)
                isIdle = false
            }
            guard isIdle else { continue }
            // Nothing is left to do now, so advance the clock to the next timer.
            for index in ends.indices {
                if let deadline = ends[index].nextDeadline {
                    nanoseconds = max(nanoseconds, deadline.uptimeNanoseconds)
                }
                ends[index].timeout(at: now)
            }
        }
        return seconds() - start
    }
}
