//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import STUN
import Testing

@testable import Tunnel

@Suite("Datagrams that the system sends in one piece")
struct DatagramBatchTests {
    private func address(_ last: UInt8) throws -> TransportAddress {
        try #require(TransportAddress([192, 0, 2, last], port: 4_433))
    }

    private func datagram(_ byte: UInt8, _ length: Int) -> [UInt8] { [UInt8](repeating: byte, count: length) }

    @Test("datagrams of one size and one address fit, and a shorter one is the last")
    func sizes() throws {
        let address = try self.address(1)
        var batch = try #require(DatagramBatch(first: self.datagram(1, 1_200), to: address))
        #expect(batch.envelope.metadata == nil)
        let results = [
            batch.append(self.datagram(2, 1_201), to: address),
            batch.append(self.datagram(2, 1_200), to: try self.address(2)),
            batch.append([], to: address),
            batch.append(self.datagram(2, 40), to: address),
            batch.append(self.datagram(2, 1_200), to: address),
            batch.append(self.datagram(3, 40), to: address),
            batch.append(self.datagram(4, 40), to: address),
        ]
        #expect(results == [false, false, false, false, true, true, false])
        #expect(batch.envelope.metadata?.segmentSize == 1_200)
        let bytes = self.datagram(1, 1_200) + self.datagram(2, 1_200) + self.datagram(3, 40)
        #expect(batch.envelope.data == ByteBuffer(bytes: bytes))
        #expect(batch.envelope.remoteAddress == address.socketAddress)
    }

    @Test("if a datagram is not written, a batch is unchanged, and no new batch is created")
    func failures() throws {
        let address = try self.address(1)
        #expect(DatagramBatch(1_200, to: address) { _ in false } == nil)
        var batch = try #require(DatagramBatch(first: self.datagram(1, 1_200), to: address))
        batch.append(1_200) { _ in false }
        #expect(batch.envelope.metadata == nil)
        let isAdded = batch.append(self.datagram(2, 1_200), to: address)
        #expect(isAdded && batch.envelope.data.readableBytes == 2_400)
    }

    @Test("a batch has at most 64 datagrams and 65,000 bytes", arguments: [(40, 64), (1_200, 54), (1_452, 44)])
    func limits(size: Int, count: Int) throws {
        let address = try self.address(1)
        var batch = try #require(DatagramBatch(first: self.datagram(1, size), to: address))
        var added = 1
        while batch.append(self.datagram(1, size), to: address) { added += 1 }
        #expect(added == count && batch.envelope.data.readableBytes == count * size)
    }
}

extension DatagramBatch {
    fileprivate init?(first datagram: [UInt8], to address: TransportAddress) {
        self.init(datagram.count, to: address) { $0.writeBytes(datagram) > 0 }
    }

    /// Adds a datagram. Returns false if there is no room for it.
    fileprivate mutating func append(_ datagram: [UInt8], to address: TransportAddress) -> Bool {
        guard self.hasRoom(datagram.count, to: address) else { return false }
        self.append(datagram.count) { $0.writeBytes(datagram) > 0 }
        return true
    }
}
