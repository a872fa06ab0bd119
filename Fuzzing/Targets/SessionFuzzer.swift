//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// Fuzzes the session state machine with packets that contain arbitrary frames.
enum SessionFuzzer {
    /// Returns a state machine with small limits and two paths.
    static func machine(_ role: SessionStateMachine.Role) -> SessionStateMachine {
        var configuration = SessionConfiguration()
        configuration.maximumStreams = 8
        configuration.initialStreamWindow = 4_096
        configuration.windowBudget = 16_384
        // Replace keys often.
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

    /// Passes the input to the state machine as the frames of packets with a valid header.
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
                let packet = ByteBuffer(bytes: header + input)
                machine.receive(packet, createdAt: 0, generation: 0, path: PathID(rawValue: 0), at: now)
            }
            Self.finish(&machine, now)
        }
    }

    /// Decoded frames must not exceed their maximum length when encoded, and must be equal when decoded again.
    private static func codec(_ input: [UInt8]) {
        guard let frames = try? SessionFrameDecoder.decode(ByteBuffer(bytes: input)) else { return }
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
            // Decoding replaces invalid UTF-8. The text can then be longer than the maximum that is encoded.
            guard text.utf8.count <= SessionFrame.maximumTextLength else { continue }
            precondition((try? SessionFrameDecoder.decode(buffer)) == [frame])
        }
    }

    /// Closes the session, and checks that no stream is left.
    static func finish(_ machine: inout SessionStateMachine, _ now: Moment) {
        while machine.nextAction() != nil {}
        machine.close(nil, at: now)
        while machine.nextAction() != nil {}
        precondition(machine.isOver && machine.streamCount == 0)
    }
}
