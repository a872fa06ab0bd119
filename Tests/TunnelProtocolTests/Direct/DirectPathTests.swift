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
            case .send(let datagram, _): datagrams.append(datagram)
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

    @Test("a peer that retires connection IDs without end, or unknown ones, violates the protocol")
    func retirementFlood() throws {
        var exit = try self.path(isExit: true)
        exit.offer([], isRepeated: true, at: Self.now)
        let accepted = (0..<1_000 as Range<UInt64>).prefix {
            exit.receive(.retireConnectionID(sequence: $0), isAllowed: { _ in true }, at: Self.now)
        }
        #expect(accepted.count == 16)
        #expect(exit.connectionIDs.count <= 16 + OwnConnectionIDs.active)
        var other = try self.path(isExit: true)
        other.offer([], isRepeated: true, at: Self.now)
        let isValid = other.receive(.retireConnectionID(sequence: 3), isAllowed: { _ in true }, at: Self.now)
        #expect(!isValid)
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

    @Test("when one side changes its address, both use other connection IDs")
    func unlinkable() throws {
        var (client, exit) = (try self.path(isExit: false), try self.path(isExit: true))
        client.offer([DirectCandidate(.host, try self.address(1))], isRepeated: true, at: Self.now)
        exit.offer([DirectCandidate(.host, try self.address(2))], isRepeated: true, at: Self.now)
        _ = self.exchange(&client, &exit)
        _ = self.exchange(&exit, &client)
        client.timeout(at: Self.now)
        exit.timeout(at: Self.now)
        let before = try #require(self.exchange(&client, &exit).first)
        let fromExit = try #require(self.exchange(&exit, &client).first)
        let first = exit.receive(ByteBuffer(bytes: before), from: try self.address(1), at: Self.now)
        #expect(first.isCheck)
        _ = self.exchange(&exit, &client)

        let later = Self.now + .seconds(1)
        client.networkChanged(at: later)
        client.timeout(at: later)
        let after = try #require(self.exchange(&client, &exit, at: later).first)
        #expect(self.connection(of: after) != self.connection(of: before))
        let second = exit.receive(ByteBuffer(bytes: after), from: try self.address(3), at: later)
        #expect(second.isCheck)
        let answers = self.exchange(&exit, &client, at: later)
        #expect(answers.allSatisfy { self.connection(of: $0) != self.connection(of: fromExit) })
        #expect(!answers.isEmpty)
    }

    @Test(
        "after a change of addresses, each side retires as many connection IDs as the side that moved more often, at most",
        arguments: [(1, 0), (0, 1), (1, 1), (2, 0), (3, 2)]
    )
    func changesEnd(moves: (client: Int, exit: Int)) throws {
        var (client, exit) = (try self.path(isExit: false), try self.path(isExit: true))
        client.offer([DirectCandidate(.host, try self.address(1))], isRepeated: true, at: Self.now)
        exit.offer([DirectCandidate(.host, try self.address(2))], isRepeated: true, at: Self.now)
        var now = Self.now
        var retired = (client: 0, exit: 0)
        /// Passes on everything that one side sends, and counts the connection IDs that it retires.
        func pass(_ from: inout DirectPath, _ to: inout DirectPath, _ source: TransportAddress) -> Int {
            var count = 0
            while let action = from.nextAction() {
                switch action {
                case .frame(let frame):
                    if case .retireConnectionID = frame { count += 1 }
                    let isValid = to.receive(frame, isAllowed: { _ in true }, at: now)
                    #expect(isValid)
                case .send(let datagram, _): _ = to.receive(ByteBuffer(bytes: datagram), from: source, at: now)
                default: break
                }
            }
            return count
        }
        let sources = (client: try self.address(1), exit: try self.address(2))
        func advance(_ rounds: Int) {
            for _ in 0..<rounds {
                client.timeout(at: now)
                exit.timeout(at: now)
                retired.client += pass(&client, &exit, sources.client)
                retired.exit += pass(&exit, &client, sources.exit)
                now = now + .milliseconds(20)
            }
        }
        advance(50)
        #expect(retired == (0, 0))
        for move in 0..<max(moves.client, moves.exit) {
            if move < moves.client { client.networkChanged(at: now) }
            if move < moves.exit { exit.networkChanged(at: now) }
            advance(3)
        }
        advance(500)
        let most = max(moves.client, moves.exit)
        #expect((1...most).contains(retired.client) && retired.client == retired.exit, "\(retired)")
    }
}

extension DirectPath.Received {
    fileprivate var isCheck: Bool { if case .check = self { true } else { false } }
}
