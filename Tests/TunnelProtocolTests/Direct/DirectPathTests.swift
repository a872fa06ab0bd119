//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import STUN
import Testing

@testable import TunnelProtocol

@Suite("The protocol of a direct path")
struct DirectPathTests {
    private static let now = NIODeadline.uptimeNanoseconds(1_000_000_000)

    private func path(isExit: Bool) throws -> DirectPath {
        let secret = DatagramSecret(bytes: try #require(Bytes32([UInt8](repeating: 3, count: 32))))
        return DirectPath(isExit: isExit, secret: secret, random: .sha256(of: [isExit ? 1 : 0]))
    }

    private func address(_ last: UInt8) throws -> TransportAddress {
        try #require(TransportAddress([192, 0, 2, last], port: 4_000))
    }

    /// Passes the frames of one side to the other. Returns the datagrams.
    private func exchange(_ from: inout DirectPath, _ to: inout DirectPath, at now: NIODeadline = now) -> [[UInt8]] {
        var datagrams: [[UInt8]] = []
        while let action = from.nextAction() {
            switch action {
            case .frame(let frame):
                let isValid = to.receive(frame, isAllowed: { _ in true }, at: now)
                #expect(isValid)
            case .send(let datagram, _, _): datagrams.append(datagram)
            default: break
            }
        }
        return datagrams
    }

    /// The connection IDs that a path has given to its peer, in order.
    private func connectionIDs(_ path: inout DirectPath) -> [ConnectionID] {
        var ids: [ConnectionID] = []
        while let action = path.nextAction() { if case .accept(let id) = action { ids.append(id) } }
        return ids
    }

    private func connection(of datagram: [UInt8]) -> ConnectionID? {
        DatagramHeader.connection(of: ByteBuffer(bytes: datagram))
    }

    @Test("each retired connection ID is replaced, and expires after some time")
    func retirement() throws {
        var exit = try self.path(isExit: true)
        exit.offer([], isRepeated: true, at: Self.now)
        let first = self.connectionIDs(&exit)
        #expect(first.count == OwnConnectionIDs.active)
        func retire() -> Bool { exit.receive(.retireConnectionID(sequence: 0), isAllowed: { _ in true }, at: Self.now) }
        #expect(retire())
        #expect(self.connectionIDs(&exit).count == 1)
        // Repeated, because its acknowledgement was lost.
        #expect(retire())
        #expect(self.connectionIDs(&exit).isEmpty)
        #expect(exit.connectionIDs.count == OwnConnectionIDs.active + 1)
        exit.timeout(at: Self.now + .seconds(3))
        #expect(exit.connectionIDs.count == OwnConnectionIDs.active && !exit.connectionIDs.contains(first[0]))
    }

    @Test(
        "a peer gets at most 32 connection IDs in 3 s, however many it retires; retiring an unknown one is a protocol violation"
    )
    func retirementFlood() throws {
        var exit = try self.path(isExit: true)
        exit.offer([], isRepeated: true, at: Self.now)
        let accepted = (0..<1_000 as Range<UInt64>).prefix {
            exit.receive(.retireConnectionID(sequence: $0), isAllowed: { _ in true }, at: Self.now)
        }
        #expect(accepted.count == OwnConnectionIDs.issuedPerInterval)
        #expect(exit.connectionIDs.count == OwnConnectionIDs.issuedPerInterval)
        _ = self.connectionIDs(&exit)
        let later = Self.now + OwnConnectionIDs.interval
        #expect(exit.nextDeadline.map { $0 <= later } == true)
        exit.timeout(at: later)
        #expect(self.connectionIDs(&exit).count == OwnConnectionIDs.active)
        #expect(exit.connectionIDs.count == OwnConnectionIDs.active)
    }

    @Test("a peer that gives too many connection IDs, or one number twice, violates the protocol")
    func tooManyIDs() throws {
        var client = try self.path(isExit: false)
        func receive(_ sequence: UInt64, _ id: UInt64) -> Bool {
            client.receive(
                .newConnectionID(sequence: sequence, ConnectionID(rawValue: id)),
                isAllowed: { _ in true },
                at: Self.now
            )
        }
        for sequence in 0..<UInt64(PeerConnectionIDs.maximumCount) { #expect(receive(sequence, sequence)) }
        #expect(receive(2, 2) && !receive(2, 9) && !receive(99, 99))
    }

    /// Two nodes that reach each other without a NAT. The exit has one address, the client the one from which it sends now.
    private struct Pair {
        var client: DirectPath
        var exit: DirectPath
        var source: TransportAddress
        let exitAddress: TransportAddress
        var now = DirectPathTests.now
        /// The connection IDs of all datagrams, by receiver.
        var seen: [TransportAddress: Set<ConnectionID>] = [:]
        var retired = 0

        private mutating func perform(_ action: DirectPath.Action, isClient: Bool) {
            switch action {
            case .frame(let frame):
                if case .retireConnectionID = frame { self.retired += 1 }
                let isValid =
                    isClient
                    ? self.exit.receive(frame, isAllowed: { _ in true }, at: self.now)
                    : self.client.receive(frame, isAllowed: { _ in true }, at: self.now)
                #expect(isValid)
            case .send(let datagram, let address, _): self.pass(datagram, to: address, isClient: isClient)
            default: break
            }
        }

        mutating func pass(_ datagram: [UInt8], to address: TransportAddress, isClient: Bool) {
            let datagram = ByteBuffer(bytes: datagram)
            DatagramHeader.connection(of: datagram).map { _ = self.seen[address, default: []].insert($0) }
            if isClient, address == self.exitAddress {
                _ = self.exit.receive(datagram, from: self.source, at: self.now)
            } else if !isClient, address == self.source {
                _ = self.client.receive(
                    datagram,
                    from: address == self.source ? self.exitAddress : address,
                    at: self.now
                )
            }
        }

        mutating func advance(_ rounds: Int) {
            for _ in 0..<rounds {
                self.client.timeout(at: self.now)
                self.exit.timeout(at: self.now)
                while let action = self.client.nextAction() { self.perform(action, isClient: true) }
                while let action = self.exit.nextAction() { self.perform(action, isClient: false) }
                self.now = self.now + .milliseconds(20)
            }
        }
    }

    private func pair() throws -> Pair {
        var pair = Pair(
            client: try self.path(isExit: false),
            exit: try self.path(isExit: true),
            source: try self.address(1),
            exitAddress: try self.address(2)
        )
        pair.client.offer([DirectCandidate(.host, pair.source)], isRepeated: true, at: pair.now)
        pair.exit.offer([DirectCandidate(.host, pair.exitAddress)], isRepeated: true, at: pair.now)
        pair.advance(50)
        return pair
    }

    @Test("each address of the peer gets its own connection ID and keeps it")
    func oneForEachAddress() throws {
        var (client, exit) = (try self.path(isExit: false), try self.path(isExit: true))
        client.offer(try (10..<16).map { DirectCandidate(.host, try self.address($0)) }, isRepeated: true, at: Self.now)
        _ = self.exchange(&client, &exit)
        var ids: [TransportAddress: Set<ConnectionID>] = [:]
        for step in 0..<200 {
            exit.timeout(at: Self.now + .milliseconds(Int64(step) * 20))
            while let action = exit.nextAction() {
                guard case .send(let datagram, let address, _) = action, let id = self.connection(of: datagram) else {
                    continue
                }
                ids[address, default: []].insert(id)
            }
        }
        #expect(ids.count == 6 && ids.values.allSatisfy { $0.count == 1 })
        #expect(Set(ids.values.joined()).count == 6)
    }

    @Test("when the client moves, neither side uses a connection ID at both of its addresses", arguments: [1, 5])
    func unlinkable(moves: Int) throws {
        var pair = try self.pair()
        #expect(pair.client.remote == pair.exitAddress && pair.exit.remote == pair.source)
        var number: UInt64 = 0
        for move in 0..<moves {
            let former = pair.source
            pair.source = try self.address(UInt8(100 + move))
            let before = pair.seen[pair.exitAddress]
            pair.client.networkChanged(at: pair.now)
            pair.seen[pair.exitAddress] = []
            // Until the exit has found the new address, its packets go to the former one.
            for _ in 0..<100 {
                let (packet, isFormer) = (
                    pair.exit.datagram(ByteBuffer(string: "x"), number), pair.exit.remote == former
                )
                number += 1
                if let packet { pair.pass(packet.datagram, to: packet.to, isClient: false) }
                if let packet { #expect(packet.to == (isFormer ? former : pair.source)) }
                pair.advance(1)
                if let packet = pair.client.datagram(ByteBuffer(string: "y"), number) {
                    pair.pass(packet.datagram, to: packet.to, isClient: true)
                }
            }
            #expect(pair.exit.remote == pair.source && pair.client.remote == pair.exitAddress)
            #expect(before?.isDisjoint(with: pair.seen[pair.exitAddress] ?? []) == true)
        }
        let sources = try [1].map(self.address) + (0..<moves).map { try self.address(UInt8(100 + $0)) }
        let used = sources.compactMap { pair.seen[$0] }
        #expect(used.count == moves + 1 && used.allSatisfy { $0.count == 1 })
        #expect(Set(used.joined()).count == moves + 1)
        #expect(pair.retired >= moves)
    }

    @Test("without an unused connection ID, nothing is sent to a new address, nor from a new network")
    func noneLeft() throws {
        var path = try self.path(isExit: true)
        func give(_ sequence: UInt64) -> Bool {
            path.receive(
                .newConnectionID(sequence: sequence, ConnectionID(rawValue: sequence)),
                isAllowed: { _ in true },
                at: Self.now
            )
        }
        func sent(at now: NIODeadline) -> Set<TransportAddress> {
            var addresses: Set<TransportAddress> = []
            for step in 0..<20 {
                path.timeout(at: now + .milliseconds(Int64(step) * 20))
                while let action = path.nextAction() {
                    if case .send(_, let address, _) = action { addresses.insert(address) }
                }
            }
            return addresses
        }
        // The last ones are for addresses from which the peer has sent.
        for sequence in 0...UInt64(PeerConnectionIDs.reserve) { #expect(give(sequence)) }
        let candidates = try (1...3).map { DirectCandidate(.host, try self.address($0)) }
        let isValid = path.receive(.candidates(sequence: 0, candidates), isAllowed: { _ in true }, at: Self.now)
        #expect(isValid)
        #expect(sent(at: Self.now).count == 1)
        path.networkChanged(at: Self.now + .seconds(1))
        #expect(sent(at: Self.now + .seconds(1)).isEmpty)
        #expect(give(9))
        #expect(sent(at: Self.now + .seconds(2)).count == 1)
    }
}
