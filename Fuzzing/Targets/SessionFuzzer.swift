//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// Sessions under inputs that no peer would send.
enum SessionFuzzer {
    /// Bytes of an input, one after the other.
    private struct Reader {
        var bytes: ArraySlice<UInt8>

        mutating func byte() -> UInt8 { self.bytes.popFirst() ?? 0 }

        mutating func take(_ count: Int) -> [UInt8] {
            let part = self.bytes.prefix(count)
            self.bytes = self.bytes.dropFirst(count)
            return Array(part)
        }
    }

    private static func machine(_ role: SessionStateMachine.Role) -> SessionStateMachine {
        var configuration = SessionConfiguration()
        configuration.maximumStreams = 8
        configuration.initialStreamWindow = 4_096
        configuration.windowBudget = 16_384
        configuration.takesDirectPaths = true
        var machine = SessionStateMachine(
            role: role,
            configuration: configuration,
            peer: SessionParameters(configuration),
            now: Moment(monotonic: .uptimeNanoseconds(1), seconds: 1_800_000_000)
        )
        for path in 0..<2 {
            machine.addPath(
                PathID(rawValue: path),
                PathDescription(relay: "ws://\(path)", maximumPlaintext: 40_960, createdAtUpperLimit: nil),
                at: Moment(monotonic: .uptimeNanoseconds(1), seconds: 1_800_000_000)
            )
        }
        return machine
    }

    /// Any bytes behind a header that is right.
    static func frames(_ input: [UInt8]) {
        for role in [SessionStateMachine.Role.client, .exit] {
            var machine = Self.machine(role)
            let now = Moment(monotonic: .uptimeNanoseconds(2_000_000), seconds: 1_800_000_000)
            if role == .client {
                machine.open(
                    StreamID(rawValue: 1),
                    StreamRequest(destination: "x", port: 1),
                    paths: [PathID(rawValue: 0)],
                    at: now
                )
            }
            for number in UInt8(0)..<2 {
                let header: [UInt8] = [role == .client ? 0x11 : 0x10, 0, number]
                machine.receive(header + input, createdAt: 0, generation: 0, path: PathID(rawValue: 0), at: now)
            }
            Self.finish(&machine, now)
        }
    }

    /// A life of any events: packets, streams, relays, and time.
    static func life(_ input: [UInt8]) {
        var reader = Reader(bytes: input[...])
        let isExit = reader.byte() & 1 == 1
        var machine = Self.machine(isExit ? .exit : .client)
        var nanoseconds: UInt64 = 1_000_000
        var now: Moment { Moment(monotonic: .uptimeNanoseconds(nanoseconds), seconds: 1_800_000_000) }
        var tokens: [MessageToken] = []
        var credit: [StreamID: Int] = [:]
        var handed: [StreamID: Int] = [:]
        var opened: UInt64 = 0
        var received: UInt8 = 0
        while !reader.bytes.isEmpty {
            let id = StreamID(rawValue: UInt64(reader.byte() & 7) + 1)
            switch reader.byte() & 15 {
            case 0, 1, 2, 3:
                let path = reader.byte() & 1
                let count = Int(reader.byte())
                let header: [UInt8] = [isExit ? 0x10 : 0x11, path, received & 63]
                received &+= 1
                machine.receive(
                    header + reader.take(count),
                    createdAt: 0,
                    generation: 0,
                    path: PathID(rawValue: Int(path)),
                    at: now
                )
            case 4 where !isExit:
                opened += 1
                let request = StreamRequest(destination: "x", port: 1)
                machine.open(StreamID(rawValue: opened), request, paths: [PathID(rawValue: 0)], at: now)
            case 5:
                let count = min(Int(reader.byte()) * 64, credit[id] ?? 0)
                credit[id]? -= count
                if count > 0 { machine.send(id, ByteBuffer(repeating: 1, count: count), at: now) }
            case 6: machine.finish(id, at: now)
            case 7: machine.reset(id, .connectionReset, at: now)
            case 8:
                let count = min(Int(reader.byte()) * 16, handed[id] ?? 0)
                handed[id]? -= count
                machine.consumed(id, count, at: now)
            case 9: machine.removePath(PathID(rawValue: Int(reader.byte() & 1)), at: now)
            case 10:
                machine.addPath(
                    PathID(rawValue: Int(reader.byte() & 3)),
                    PathDescription(
                        relay: "ws://x",
                        maximumPlaintext: 40_960,
                        largestPlaintext: 65_535,
                        createdAtUpperLimit: nil
                    ),
                    at: now
                )
            case 11:
                guard let token = tokens.popLast() else { break }
                let outcomes: [PublishOutcome] = [
                    .accepted(PathID(rawValue: 0)), .rejected(.rateLimited), .rejected(.refused),
                    .rejected(.nobodyListens), .rejected(.unreachable), .lost,
                ]
                machine.published(token, outcomes[Int(reader.byte()) % outcomes.count], at: now)
            case 12:
                nanoseconds += UInt64(reader.byte()) * 20_000_000
                machine.timeout(at: now)
            case 13: machine.setWritable(PathID(rawValue: Int(reader.byte() & 1)), reader.byte() & 1 == 1, at: now)
            case 14:
                if isExit { machine.connected(id, at: now) }
            default:
                machine.offerPath(
                    SessionPathOffer(path: PathID(rawValue: 12), relay: "ws://x", isDirect: false),
                    at: now
                )
            }
            while let action = machine.nextAction() {
                switch action {
                case .publish(let token, let plaintext, _, _):
                    precondition(plaintext.count <= SessionConfiguration.largestPacket)
                    tokens.append(token)
                    if tokens.count > 64 { tokens.removeFirst() }
                case .credit(let id, let bytes): credit[id, default: 0] += bytes
                case .data(let id, let data): handed[id, default: 0] += data.readableBytes
                default: break
                }
            }
            precondition(machine.streamCount <= 8)
            precondition(machine.heldBytes <= 8 * 4_096 + 16_384)
        }
        Self.finish(&machine, now)
    }

    private static func finish(_ machine: inout SessionStateMachine, _ now: Moment) {
        while machine.nextAction() != nil {}
        machine.close(nil, at: now)
        while machine.nextAction() != nil {}
        precondition(machine.isOver && machine.streamCount == 0)
    }
}
