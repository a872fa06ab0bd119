//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import STUN
import Testing

@testable import TunnelProtocol

@Suite("Datagrams of a direct path")
struct DatagramTests {
    private static let connection = ConnectionID(rawValue: 0x0102_0304_0506_0708)

    private func secret(_ byte: UInt8) throws -> DatagramSecret {
        DatagramSecret(bytes: try #require(Bytes32([UInt8](repeating: byte, count: 32))))
    }

    private func pair() throws -> (client: DatagramSealer, exit: DatagramSealer) {
        (DatagramSealer(try self.secret(1), isExit: false), DatagramSealer(try self.secret(1), isExit: true))
    }

    @Test("a packet arrives with its number and generation, and its datagram shows only the connection ID")
    func packets() throws {
        var (client, exit) = try self.pair()
        let plaintext = [UInt8](repeating: 7, count: 900)
        let first = try client.datagram(ByteBuffer(bytes: plaintext), 5, to: Self.connection)
        let second = try client.datagram(ByteBuffer(bytes: plaintext), 6, to: Self.connection)
        #expect(DatagramHeader.connection(of: ByteBuffer(bytes: first)) == Self.connection)
        #expect(first.count == DatagramHeader.length + 900 + DatagramKey.overhead)
        // The numbers differ in one bit, and the protected bytes in about half of theirs.
        #expect(first[9..<13] != second[9..<13] && Array(first[9..<13]) != [0, 0, 0, 5])
        #expect(first[0] >> 5 == 0b010 && !STUNMessage.isSTUN(ByteBuffer(bytes: first)))
        let received = exit.open(ByteBuffer(bytes: first))
        let opened = try #require(received)
        #expect(opened.space == .packets && opened.number == 5 && opened.generation == 0)
        #expect(opened.plaintext == ByteBuffer(bytes: plaintext))
        // Behind other bytes, the same datagram results.
        var buffer = ByteBuffer(bytes: [1, 2, 3])
        try client.seal(packet: ByteBuffer(bytes: plaintext), number: 5, to: Self.connection, appendingTo: &buffer)
        #expect(Array(buffer.readableBytesView) == [1, 2, 3] + first)
        // The sender cannot open what it has sent: the directions have different keys.
        #expect(client.open(ByteBuffer(bytes: first)) == nil)
    }

    @Test("every modified byte, a cut datagram and another secret are rejected")
    func forged() throws {
        var (client, exit) = try self.pair()
        let datagram = try client.datagram(ByteBuffer(string: "hello"), 0, to: Self.connection)
        for index in datagram.indices {
            var modified = datagram
            modified[index] ^= 1
            #expect(exit.open(ByteBuffer(bytes: modified)) == nil)
        }
        for length in 0..<datagram.count { #expect(exit.open(ByteBuffer(bytes: datagram.prefix(length))) == nil) }
        var stranger = DatagramSealer(try self.secret(2), isExit: true)
        #expect(stranger.open(ByteBuffer(bytes: datagram)) == nil)
        #expect(exit.open(ByteBuffer(bytes: datagram))?.plaintext == ByteBuffer(string: "hello"))
    }

    @Test("a check is accepted once; checks and packets have their own numbers and keys")
    func checks() throws {
        var (client, exit) = try self.pair()
        let check = ConnectivityCheck.request(token: 42)
        let datagrams = try (0..<100).map { _ in try client.seal(check, to: Self.connection) }
        #expect(datagrams[0].count == 1_200)
        let packet = try client.datagram(check.encoded, 0, to: Self.connection)
        #expect(exit.open(ByteBuffer(bytes: packet))?.space == .packets)
        let received = exit.open(ByteBuffer(bytes: datagrams[99]))
        let last = try #require(received)
        #expect(last.space == .checks && ConnectivityCheck(last.plaintext) == check)
        #expect(exit.open(ByteBuffer(bytes: datagrams[99])) == nil)
        #expect(exit.open(ByteBuffer(bytes: datagrams[98]))?.number == 98)
        #expect(exit.open(ByteBuffer(bytes: datagrams[98])) == nil)
        // Too old to tell.
        #expect(exit.open(ByteBuffer(bytes: datagrams[99 - Int(ReceivedNumbers.window)])) == nil)
    }

    @Test("keys of two generations open datagrams until one is erased; the header keys stay")
    func generations() throws {
        var (client, exit) = try self.pair()
        let old = try client.datagram(ByteBuffer(string: "old"), 1, to: Self.connection)
        client.add(1, try self.secret(9))
        exit.add(1, try self.secret(9))
        client.use(1)
        let new = try client.datagram(ByteBuffer(string: "new"), 2, to: Self.connection)
        #expect(exit.open(ByteBuffer(bytes: new))?.generation == 1)
        #expect(exit.open(ByteBuffer(bytes: old))?.generation == 0)
        exit.use(1)
        exit.erase(0)
        #expect(exit.open(ByteBuffer(bytes: old)) == nil)
        exit.erase(1)
        #expect(exit.open(ByteBuffer(bytes: new))?.plaintext == ByteBuffer(string: "new"))
    }

    @Test(
        "a number is restored from its low 32 bits",
        arguments: [
            (0, 0, 0), (5, 3, 3), (1 << 32, 2, (1 << 32) + 2), ((1 << 32) + 5, 0xffff_fff0, 0xffff_fff0),
            (0xffff_fff0, 3, (1 << 32) + 3), (1 << 40, 0xffff_ffff, (1 << 40) - 1),
        ] as [(UInt64, UInt32, UInt64)]
    )
    func numbers(expected: UInt64, truncated: UInt32, number: UInt64) {
        #expect(DatagramHeader.number(truncated, expected: expected) == number)
    }

    @Test("numbers beyond 32 bits, lost and reordered, arrive")
    func largeNumbers() throws {
        var (client, exit) = try self.pair()
        for number in [0, 1 << 31, (1 << 32) - 20, (1 << 32) + 7, (1 << 32) - 9, (1 << 32) + 8] as [UInt64] {
            let datagram = try client.datagram(ByteBuffer(bytes: [1, 2, 3]), number, to: Self.connection)
            #expect(exit.open(ByteBuffer(bytes: datagram))?.number == number)
        }
    }

    @Test("addresses and checks survive encoding; a short request is refused")
    func encoding() throws {
        let addresses = [
            try #require(TransportAddress([192, 0, 2, 1], port: 4_000)),
            try #require(TransportAddress([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9], port: 65_535)),
        ]
        for address in addresses {
            let check = ConnectivityCheck.response(token: .max, observed: address)
            #expect(ConnectivityCheck(check.encoded) == check)
            #expect(check.encoded.readableBytes == ConnectivityCheck.request(token: 1).encoded.readableBytes)
        }
        let mapped = [UInt8](repeating: 0, count: 10) + [0xff, 0xff, 192, 0, 2, 1]
        #expect(TransportAddress(mapped, port: 4_000) == addresses[0] && addresses[0].bytes == [192, 0, 2, 1])
        #expect(TransportAddress([1, 2, 3], port: 1) == nil && TransportAddress([1, 2, 3, 4], port: 0) == nil)
        let short = ConnectivityCheck.request(token: 1).encoded.getSlice(at: 0, length: 100)
        #expect(ConnectivityCheck(try #require(short)) == nil)
    }
}

extension DatagramSealer {
    /// Seals a packet, and returns the datagram.
    func datagram(_ packet: ByteBuffer, _ number: UInt64, to connection: ConnectionID) throws -> [UInt8] {
        var buffer = ByteBuffer()
        try self.seal(packet: packet, number: number, to: connection, appendingTo: &buffer)
        return Array(buffer.readableBytesView)
    }
}
