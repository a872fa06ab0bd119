//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import STUN
import Testing

@testable import PortMapping

@Suite("Asking a router for a port")
struct PortMapperTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    private static let outside: [UInt8] = [203, 0, 113, 7]

    private func mapper() throws -> PortMapper {
        PortMapper(
            client: try #require(TransportAddress([192, 168, 1, 2], port: 4_433)),
            nonce: try #require(PortMappingNonce(random: [UInt8](repeating: 9, count: 12)))
        )
    }

    /// A router's answer to a PCP request.
    private func pcp(
        nonce: UInt8 = 9,
        result: UInt8 = 0,
        lifetime: UInt32 = 3_600,
        internalPort: UInt16 = 4_433,
        port: UInt16 = 50_000
    ) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(UInt8(2), UInt8(0x81), UInt8(0), result, lifetime, UInt32(17))
        buffer.writeRepeatingByte(0, count: 12)
        buffer.writeRepeatingByte(nonce, count: 12)
        buffer.writeMultipleIntegers(UInt8(17), UInt8(0), UInt16(0), internalPort, port)
        buffer.writeMultipleIntegers(UInt64(0), UInt32(0xffff))
        buffer.writeBytes(Self.outside)
        return buffer
    }

    private func natPMPPort(_ port: UInt16, lifetime: UInt32 = 3_600, result: UInt16 = 0) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(UInt8(0), UInt8(129), result, UInt32(17), UInt16(4_433), port, lifetime)
        return buffer
    }

    private var natPMPAddress: ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(UInt8(0), UInt8(128), UInt16(0), UInt32(17))
        buffer.writeBytes(Self.outside)
        return buffer
    }

    private static func receive(_ datagram: ByteBuffer, _ mapper: inout PortMapper, at now: NIODeadline) -> Bool {
        mapper.receive(datagram, at: now)
    }

    private static func timeout(_ mapper: inout PortMapper, at now: NIODeadline) -> Bool { mapper.timeout(at: now) }

    private func drain(_ mapper: inout PortMapper) -> [ByteBuffer] {
        var requests: [ByteBuffer] = []
        while let request = mapper.nextRequest() { requests.append(request) }
        return requests
    }

    @Test("a request has the form of RFC 6887, figures 2 and 9")
    func request() throws {
        var mapper = try self.mapper()
        mapper.refresh(at: Self.start)
        var request = try #require(self.drain(&mapper).first)
        #expect(request.readableBytes == 60)
        let header = request.readMultipleIntegers(as: (UInt8, UInt8, UInt16, UInt32).self)
        #expect(try #require(header) == (2, 1, 0, 7_200))
        #expect(request.readBytes(length: 16) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 1, 2])
        #expect(request.readBytes(length: 12) == [UInt8](repeating: 9, count: 12))
        let map = request.readMultipleIntegers(as: (UInt32, UInt16, UInt16).self)
        #expect(try #require(map) == (17 << 24, 4_433, 0))
        #expect(request.readBytes(length: 16) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0])
    }

    @Test("a mapping by PCP is renewed at half of its lifetime, and is gone at its end")
    func renewal() throws {
        var mapper = try self.mapper()
        mapper.refresh(at: Self.start)
        _ = self.drain(&mapper)
        #expect(Self.receive(self.pcp(), &mapper, at: Self.start))
        #expect(mapper.mapping?.address == TransportAddress(Self.outside, port: 50_000))
        #expect(mapper.mapping?.by == .pcp)
        let half = Self.start + .seconds(1_800)
        #expect(mapper.nextDeadline == half)
        #expect(!Self.timeout(&mapper, at: half))
        #expect(self.drain(&mapper).count == 1)
        // The same address again is no change.
        #expect(!Self.receive(self.pcp(), &mapper, at: half))
        // The router no longer answers: the mapping remains until it expires, and is asked for again.
        var changes = 0
        var requests = 0
        while let deadline = mapper.nextDeadline, deadline < half + .seconds(3_700) {
            if mapper.timeout(at: deadline) { changes += 1 }
            requests += self.drain(&mapper).count
        }
        #expect(changes == 1 && mapper.mapping == nil)
        #expect(requests >= 10)
    }

    @Test("a router that does not know PCP is asked by NAT-PMP", arguments: [false, true])
    func fallback(asPCP: Bool) throws {
        var mapper = try self.mapper()
        mapper.refresh(at: Self.start)
        _ = self.drain(&mapper)
        var refusal = ByteBuffer()
        if asPCP {
            refusal = self.pcp(result: 1)
        } else {
            refusal.writeMultipleIntegers(UInt8(0), UInt8(0x81), UInt16(1), UInt32(17))
        }
        #expect(!Self.receive(refusal, &mapper, at: Self.start))
        let requests = self.drain(&mapper)
        #expect(
            requests.map { Array($0.readableBytesView) } == [
                [0, 0], [0, 1, 0, 0, 0x11, 0x51, 0x11, 0x51, 0, 0, 0x1c, 0x20],
            ]
        )
        #expect(!Self.receive(self.natPMPPort(50_001), &mapper, at: Self.start))
        #expect(Self.receive(self.natPMPAddress, &mapper, at: Self.start))
        #expect(mapper.mapping?.address == TransportAddress(Self.outside, port: 50_001))
        #expect(mapper.mapping?.by == .natPMP)
        mapper.stop()
        #expect(
            self.drain(&mapper).map { Array($0.readableBytesView) } == [[0, 1, 0, 0, 0x11, 0x51, 0, 0, 0, 0, 0, 0]]
        )
        #expect(mapper.mapping == nil)
    }

    @Test("answers to other requests, and of an impossible form, change nothing")
    func foreign() throws {
        var mapper = try self.mapper()
        #expect(!Self.receive(self.pcp(), &mapper, at: Self.start))
        mapper.refresh(at: Self.start)
        for answer in [self.pcp(nonce: 8), self.pcp(internalPort: 4_434), self.pcp(port: 0), self.natPMPPort(1)] {
            #expect(!Self.receive(answer, &mapper, at: Self.start))
        }
        let whole = self.pcp()
        for length in 0..<whole.readableBytes {
            var cut = whole
            #expect(!Self.receive(cut.readSlice(length: length) ?? ByteBuffer(), &mapper, at: Self.start))
        }
        #expect(mapper.mapping == nil)
        #expect(Self.receive(whole, &mapper, at: Self.start))
    }

    @Test("a mapping that the router may have made without its answer having arrived is removed, too")
    func earlyStop() throws {
        var mapper = try self.mapper()
        mapper.stop()
        #expect(self.drain(&mapper).isEmpty)
        mapper.refresh(at: Self.start)
        _ = self.drain(&mapper)
        mapper.stop()
        var requests = self.drain(&mapper)
        #expect(requests.count == 1)
        let removal = requests[0].readMultipleIntegers(as: (UInt8, UInt8, UInt16, UInt32).self)
        #expect(try #require(removal) == (2, 1, 0, 0))
    }

    @Test("a router that does not answer gets five requests, and then none for ten minutes")
    func silence() throws {
        var mapper = try self.mapper()
        mapper.refresh(at: Self.start)
        var requests = 0
        var last = Self.start
        while let deadline = mapper.nextDeadline, deadline < Self.start + .minutes(9) {
            last = deadline
            #expect(!Self.timeout(&mapper, at: deadline))
            mapper.refresh(at: deadline)
            requests += self.drain(&mapper).count
        }
        #expect(requests == 5 && last == Self.start + .milliseconds(7_750))
        mapper.refresh(at: last + .minutes(9))
        #expect(self.drain(&mapper).isEmpty)
        mapper.refresh(at: last + .minutes(11))
        #expect(self.drain(&mapper).count == 1)
    }

    @Test("a refusal and a closed port end the requests", arguments: [false, true])
    func refusal(isClosed: Bool) throws {
        var mapper = try self.mapper()
        mapper.refresh(at: Self.start)
        _ = self.drain(&mapper)
        if isClosed {
            mapper.unreachable(at: Self.start)
        } else {
            #expect(!Self.receive(self.pcp(result: 2), &mapper, at: Self.start))
        }
        #expect(!Self.timeout(&mapper, at: Self.start + .minutes(5)))
        #expect(self.drain(&mapper).isEmpty && mapper.mapping == nil)
    }
}
