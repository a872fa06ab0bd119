//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import TunnelProtocol

@Suite("SOCKS4 and SOCKS4a")
struct SOCKS4Tests {
    typealias Machine = SOCKS4HandshakeStateMachine

    private static func request(
        _ address: [UInt8],
        user: String = "",
        name: String? = nil,
        command: UInt8 = 1
    ) -> [UInt8] {
        [4, command, 0x1f, 0x90] + address + Array(user.utf8) + [0] + (name.map { Array($0.utf8) + [0] } ?? [])
    }

    @Test("a SOCKS4a request is parsed byte by byte, and the bytes after it are kept")
    func name() {
        var machine = Machine()
        let bytes = Self.request([0, 0, 0, 7], user: "me", name: "x.nostr")
        for byte in bytes.dropLast() { #expect(machine.receive(ByteBuffer(bytes: [byte])) == .wait) }
        let action = machine.receive(ByteBuffer(bytes: [0, 9, 9]))
        #expect(
            action
                == .connect(
                    TargetAddress(host: .domain("x.nostr"), port: 8_080),
                    ProxyCredentials(user: Array("me".utf8), password: [])
                )
        )
        #expect(Array(machine.takeLeftover().readableBytesView) == [9, 9])
    }

    @Test("a SOCKS4 request with an IPv4 address is parsed")
    func address() {
        var machine = Machine()
        #expect(
            machine.receive(ByteBuffer(bytes: Self.request([10, 0, 0, 1])))
                == .connect(TargetAddress(host: .address([10, 0, 0, 1]), port: 8_080), nil)
        )
    }

    @Test("BIND, overlong fields, an empty name and missing credentials are rejected")
    func refusals() {
        func failure(_ bytes: [UInt8], requires: Bool = false) -> SOCKSHandshakeAction {
            var machine = Machine(requiresCredentials: requires)
            return machine.receive(ByteBuffer(bytes: bytes))
        }
        let rejected: [UInt8] = [0, 0x5b, 0, 0, 0, 0, 0, 0]
        #expect(failure(Self.request([1, 2, 3, 4], command: 2)) == .fail(rejected, .unsupportedCommand))
        #expect(failure([4, 1, 0, 80, 0, 0, 0, 1] + [UInt8](repeating: 65, count: 300)) == .fail(rejected, .malformed))
        #expect(failure(Self.request([0, 0, 0, 1], name: "")) == .fail(rejected, .malformed))
        #expect(
            failure(Self.request([0, 0, 0, 1], name: String(repeating: "a", count: 300)))
                == .fail(rejected, .malformed)
        )
        #expect(failure(Self.request([1, 2, 3, 4]), requires: true) == .fail(rejected, .wrongCredentials))
    }
}
