//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import STUN
import Testing

@Suite("Learning the address behind a NAT")
struct MappingDiscoveryTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private var lastID: UInt8 = 0

    private mutating func makeID() -> STUNMessage.TransactionID {
        self.lastID += 1
        return STUNMessage.TransactionID(random: [UInt8](repeating: self.lastID, count: 32))
    }

    private static func address(_ last: UInt8, _ port: UInt16) throws -> TransportAddress {
        try #require(TransportAddress([192, 0, 2, last], port: port))
    }

    private func requests(_ discovery: inout MappingDiscovery) -> [MappingDiscovery.Request] {
        var requests: [MappingDiscovery.Request] = []
        while let request = discovery.nextRequest() { requests.append(request) }
        return requests
    }

    private func answer(_ request: MappingDiscovery.Request, _ mapped: TransportAddress) -> STUNMessage {
        guard case .request(let id) = request.message else { return request.message }
        return .response(id, mapped: mapped)
    }

    @Test("servers that see the same address show an endpoint-independent mapping, others a dependent one")
    mutating func behavior() throws {
        let servers = [try Self.address(1, 3_478), try Self.address(1, 3_479)]
        for (ports, expected) in [
            ([4_000, 4_000] as [UInt16], MappingDiscovery.Behavior.endpointIndependent),
            ([4_000, 4_001], .endpointDependent),
        ] {
            var discovery = MappingDiscovery()
            discovery.ask(servers, makeID: { self.makeID() }, at: self.start)
            let requests = self.requests(&discovery)
            #expect(requests.map(\.server) == servers)
            #expect(discovery.behavior(isIPv6: false) == .unknown)
            for (request, port) in zip(requests, ports) {
                _ = discovery.receive(self.answer(request, try Self.address(9, port)), at: self.start)
            }
            #expect(discovery.behavior(isIPv6: false) == expected)
            #expect(discovery.mapped.map(\.port) == Array(Set(ports)).sorted())
            #expect(discovery.nextDeadline == nil)
        }
    }

    @Test("a request is repeated with growing pauses, and given up")
    mutating func repetition() throws {
        var discovery = MappingDiscovery()
        let server = try Self.address(1, 3_478)
        discovery.ask([server], makeID: { self.makeID() }, at: self.start)
        var sentAt: [Int64] = []
        while let deadline = discovery.nextDeadline {
            sentAt += self.requests(&discovery).map { _ in (deadline - self.start).nanoseconds }
            discovery.timeout(at: deadline)
        }
        // The deadline after each request.
        #expect(sentAt == [250, 750, 1_750, 3_750, 7_750].map { $0 * 1_000_000 })
        #expect(discovery.nextDeadline == nil)
    }

    @Test("a recent answer is used again, an old one is replaced, and a change is reported")
    mutating func validity() throws {
        var discovery = MappingDiscovery()
        let server = try Self.address(1, 3_478)
        discovery.ask([server], makeID: { self.makeID() }, at: self.start)
        let first = try #require(self.requests(&discovery).first)
        #expect(discovery.receive(self.answer(first, try Self.address(9, 1)), at: self.start) == .changed)
        #expect(discovery.receive(self.answer(first, try Self.address(9, 2)), at: self.start) == .unexpected)
        discovery.ask([server], makeID: { self.makeID() }, at: self.start + .seconds(14))
        #expect(self.requests(&discovery).isEmpty)
        let later = self.start + MappingDiscovery.validity
        discovery.ask([server], makeID: { self.makeID() }, at: later)
        let second = try #require(self.requests(&discovery).first)
        #expect(discovery.receive(self.answer(second, try Self.address(9, 1)), at: later) == .known)
        discovery.networkChanged()
        #expect(discovery.mapped.isEmpty)
    }

    @Test("the former answer of a server that is gone, or is not asked any more, is forgotten")
    mutating func oldAnswers() throws {
        for asksBoth in [true, false] {
            var discovery = MappingDiscovery()
            let servers = [try Self.address(1, 3_478), try Self.address(2, 3_478)]
            discovery.ask(servers, makeID: { self.makeID() }, at: self.start)
            for request in self.requests(&discovery) {
                _ = discovery.receive(self.answer(request, try Self.address(9, 1)), at: self.start)
            }
            // Later the NAT has another mapping, and only the first server answers.
            let later = self.start + .minutes(5)
            discovery.ask(asksBoth ? servers : [servers[0]], makeID: { self.makeID() }, at: later)
            let request = try #require(self.requests(&discovery).first)
            #expect(discovery.receive(self.answer(request, try Self.address(9, 2)), at: later) == .changed)
            while let deadline = discovery.nextDeadline { discovery.timeout(at: deadline) }
            #expect(discovery.mapped == [try Self.address(9, 2)])
            #expect(discovery.behavior(isIPv6: false) == .unknown)
        }
    }

    @Test("unsolicited answers, and servers beyond the limit, are ignored")
    mutating func limits() throws {
        var discovery = MappingDiscovery()
        let forged = STUNMessage.response(self.makeID(), mapped: try Self.address(9, 1))
        #expect(discovery.receive(forged, at: self.start) == .unexpected)
        let servers = try (1...40).map { try Self.address($0, 3_478) }
        discovery.ask(servers, makeID: { self.makeID() }, at: self.start)
        let requests = self.requests(&discovery)
        #expect(requests.count == MappingDiscovery.maximumServers)
        for (index, request) in requests.enumerated() {
            _ = discovery.receive(self.answer(request, try Self.address(9, UInt16(index + 1))), at: self.start)
        }
        discovery.ask(servers, makeID: { self.makeID() }, at: self.start)
        for request in self.requests(&discovery) {
            _ = discovery.receive(self.answer(request, try Self.address(9, 99)), at: self.start)
        }
        #expect(discovery.mapped.count <= MappingDiscovery.maximumServers)
    }
}
