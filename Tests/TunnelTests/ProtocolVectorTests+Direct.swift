//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import STUN
import Testing

@testable import Tunnel
@testable import TunnelProtocol

/// The vectors of direct paths.
extension ProtocolVectorTests {
    static func directFrames() throws -> [Vector] {
        let ipv4 = try #require(TransportAddress([192, 0, 2, 1], port: 4_433))
        let ipv6 = try #require(
            TransportAddress([0x20, 0x01, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [1], port: 5_000)
        )
        let frames: [(String, SessionFrame)] = [
            ("NEW_CONNECTION_ID 2, 0102030405060708", .newConnectionID(sequence: 2, Self.connection)),
            ("RETIRE_CONNECTION_ID 1", .retireConnectionID(sequence: 1)),
            (
                "CANDIDATES 3, host 192.0.2.1 port 4433, mapped 2001:db8::1 port 5000",
                .candidates(sequence: 3, [DirectCandidate(.host, ipv4), DirectCandidate(.mapped, ipv6)])
            ),
        ]
        return frames.map { Vector(name: "frame: \($0)", values: ["frame": Self.hex(Self.encoded($1))]) }
    }

    private static let connection = ConnectionID(rawValue: 0x0102_0304_0506_0708)

    /// Datagrams of generation 0, and one of generation 1.
    static func datagrams(_ secrets: SessionSecrets, _ renewed: SessionSecrets) throws -> [Vector] {
        var client = DatagramSealer(secrets.datagrams, isExit: false)
        var exit = DatagramSealer(secrets.datagrams, isExit: true)
        let packet = Self.encoded(.ping) + Self.encoded(.maximumData(2_000_000_000))
        let request = ConnectivityCheck.request(token: 0x1112_1314_1516_1718)
        let seen = try #require(TransportAddress([192, 0, 2, 7], port: 6_000))
        let response = ConnectivityCheck.response(token: 0x1112_1314_1516_1718, observed: seen)
        var first = ByteBuffer()
        try client.seal(packet: ByteBuffer(bytes: packet), number: 300, to: Self.connection, appendingTo: &first)
        let check = try exit.seal(request, to: Self.connection)
        let answer = try client.seal(response, to: Self.connection)
        client.add(1, renewed.datagrams)
        client.use(1)
        // Only the low 32 bits of a number are in the datagram.
        var second = ByteBuffer()
        try client.seal(
            packet: ByteBuffer(bytes: packet),
            number: 0x1_0000_0001,
            to: Self.connection,
            appendingTo: &second
        )
        return [
            Vector(
                name: "datagrams of a direct path",
                values: [
                    "connection ID": "0102030405060708", "plaintext": Self.hex(packet),
                    "from the client, packet 300, generation 0": Self.hex(Array(first.readableBytesView)),
                    "from the client, packet 4294967297, generation 1": Self.hex(Array(second.readableBytesView)),
                    "from the exit, check 0: a request with the token 1112131415161718": Self.hex(check),
                    "from the client, check 0: its response, seen at 192.0.2.7 port 6000": Self.hex(answer),
                ]
            )
        ]
    }
}
