//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// Sessions under inputs that no peer would send.
enum SessionFuzzer {
    static func machine(_ role: SessionStateMachine.Role) -> SessionStateMachine {
        var configuration = SessionConfiguration()
        configuration.maximumStreams = 8
        configuration.initialStreamWindow = 4_096
        configuration.windowBudget = 16_384
        // Keys that are soon old.
        configuration.keyBytes = 8_192
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
        Self.codec(input)
        for role in [SessionStateMachine.Role.client, .exit] {
            var machine = Self.machine(role)
            let now = Moment(monotonic: .uptimeNanoseconds(2_000_000), seconds: 1_800_000_000)
            if role == .client {
                machine.open(
                    StreamID(rawValue: 1),
                    StreamRequest(destination: "x", port: 1),
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

    /// What was read can be written within the length that it says, and reads the same.
    private static func codec(_ input: [UInt8]) {
        guard let frames = try? SessionFrame.decodeAll(ByteBuffer(bytes: input)) else { return }
        for frame in frames {
            var buffer = ByteBuffer()
            frame.encode(into: &buffer)
            precondition(buffer.readableBytes <= frame.maximumLength)
            let text: String
            switch frame {
            case .connectionClose(_, let reason): text = reason
            case .openStream(_, let request): text = request.destination
            case .newPath(let offer): text = offer.relay
            default: text = ""
            }
            // Text that is no UTF-8 is mended when it is read, and may grow beyond what is written of it.
            guard text.utf8.count <= SessionFrame.maximumTextLength else { continue }
            precondition((try? SessionFrame.decodeAll(buffer)) == [frame])
        }
    }

    static func finish(_ machine: inout SessionStateMachine, _ now: Moment) {
        while machine.nextAction() != nil {}
        machine.close(nil, at: now)
        while machine.nextAction() != nil {}
        precondition(machine.isOver && machine.streamCount == 0)
    }
}
