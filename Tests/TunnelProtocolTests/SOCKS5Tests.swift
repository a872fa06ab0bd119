//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing
import TunnelProtocol

@Suite("SOCKS5 handshake")
struct SOCKS5Tests {
    typealias Machine = SOCKS5HandshakeStateMachine

    /// Feeds `bytes` to a handshake in portions; returns its replies, its last action and the unused bytes.
    static func run(
        _ bytes: [UInt8],
        portion: Int,
        credentials: ProxyCredentials? = nil
    ) -> (written: [UInt8], last: SOCKSHandshakeAction, leftover: [UInt8]) {
        var machine = Machine(credentials: credentials)
        var written: [UInt8] = []
        var last = SOCKSHandshakeAction.wait
        var index = 0
        feeding: while index < bytes.count {
            let end = min(index + portion, bytes.count)
            last = machine.receive(ByteBuffer(bytes: bytes[index..<end]))
            index = end
            while case .reply(let reply) = last {
                written += reply
                last = machine.receive(ByteBuffer())
            }
            switch last {
            case .connect, .fail:
                if index < bytes.count { _ = machine.receive(ByteBuffer(bytes: bytes[index...])) }
                break feeding
            case .wait, .reply: break
            }
        }
        return (written, last, Array(machine.takeLeftover().readableBytesView))
    }

    @Test(
        "requests for domains, IPv4 and IPv6 addresses are parsed in portions of any size",
        arguments: [1, 2, 3, 7, 100]
    )
    func requests(portion: Int) {
        let name = Array("a.nostr".utf8)
        let domain: [UInt8] = [5, 1, 0] + [5, 1, 0, 3, UInt8(name.count)] + name + [0, 80]
        let result = Self.run(domain + Array("GET".utf8), portion: portion)
        #expect(result.written == [5, 0])
        #expect(result.last == .connect(TargetAddress(host: .domain("a.nostr"), port: 80), nil))
        #expect(result.leftover == Array("GET".utf8))

        let v4 = Self.run([5, 2, 1, 0] + [5, 1, 0, 1, 127, 0, 0, 1, 0x1f, 0x90], portion: portion)
        #expect(v4.last == .connect(TargetAddress(host: .address([127, 0, 0, 1]), port: 8080), nil))

        let address = [UInt8](repeating: 0, count: 15) + [1]
        let v6 = Self.run([5, 1, 0] + [5, 1, 0, 4] + address + [0, 22], portion: portion)
        #expect(v6.last == .connect(TargetAddress(host: .address(address), port: 22), nil))
    }

    @Test("credentials are checked if they are required, and accepted otherwise", arguments: [1, 100])
    func credentials(portion: Int) {
        let required = ProxyCredentials(user: Array("ann".utf8), password: Array("pw".utf8))
        let login: [UInt8] = [1, 3] + Array("ann".utf8) + [2] + Array("pw".utf8)
        let request: [UInt8] = [5, 1, 0, 1, 1, 2, 3, 4, 0, 80]
        let good = Self.run([5, 2, 0, 2] + login + request, portion: portion, credentials: required)
        #expect(good.written == [5, 2, 1, 0])
        #expect(good.last == .connect(TargetAddress(host: .address([1, 2, 3, 4]), port: 80), required))

        let wrong: [UInt8] = [1, 3] + Array("ann".utf8) + [2] + Array("no".utf8)
        let bad = Self.run([5, 1, 2] + wrong + request, portion: portion, credentials: required)
        #expect(bad.last == .fail([1, 1], .wrongCredentials))

        // If no credentials are required, any are accepted. They are preferred even if the client also offers to go
        // without, because they isolate its streams from those of others.
        for greeting: [UInt8] in [[5, 1, 2], [5, 2, 0, 2], [5, 2, 2, 0], [5, 3, 0, 1, 2]] {
            let free = Self.run(greeting + login + request, portion: portion)
            #expect(free.last == .connect(TargetAddress(host: .address([1, 2, 3, 4]), port: 80), required))
        }
    }

    @Test(
        "invalid handshakes are rejected with the right reply",
        arguments: [
            ([4, 1, 0, 80] as [UInt8], [] as [UInt8], ProxyHandshakeFailure.unsupportedVersion),
            (Array("GET / HTTP/1.1".utf8), [], .notSOCKS), ([5, 1, 1], [5, 0xff], .noAcceptableMethod),
            ([5, 0], [5, 0xff], .noAcceptableMethod),
            ([5, 1, 0, 5, 2, 0, 1, 1, 2, 3, 4, 0, 80], SOCKS5Reply.commandNotSupported.encoded, .unsupportedCommand),
            ([5, 1, 0, 5, 3, 0, 1, 1, 2, 3, 4, 0, 80], SOCKS5Reply.commandNotSupported.encoded, .unsupportedCommand),
            (
                [5, 1, 0, 5, 1, 0, 9, 1, 2, 3, 4, 0, 80], SOCKS5Reply.addressTypeNotSupported.encoded,
                .unsupportedAddressType
            ),
            ([5, 1, 0, 5, 1, 0, 3, 0, 0, 80], SOCKS5Reply.generalFailure.encoded, .malformed),
            ([5, 1, 0, 5, 1, 0, 3, 1, 0xff, 0, 80], SOCKS5Reply.generalFailure.encoded, .malformed),
            ([5, 1, 0, 4], SOCKS5Reply.generalFailure.encoded, .malformed),
        ]
    )
    func refusals(bytes: [UInt8], reply: [UInt8], failure: ProxyHandshakeFailure) {
        for portion in [1, 100] {
            #expect(Self.run(bytes, portion: portion).last == .fail(reply, failure))
        }
    }

    @Test("every stream failure has a SOCKS reply other than success")
    func replies() {
        for end in StreamEnd.allCases {
            #expect(SOCKS5Reply(end) != .succeeded)
        }
        #expect(SOCKS5Reply(.refused) == .connectionRefused)
        #expect(SOCKS5Reply(.noRelay) == .hostUnreachable)
        #expect(SOCKS5Reply(.notAllowed) == .notAllowed)
    }
}
