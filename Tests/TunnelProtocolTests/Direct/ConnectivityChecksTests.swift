//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import STUN
import Testing
import TunnelProtocol

@Suite("Checks of direct paths, over simulated NATs")
struct ConnectivityChecksTests {
    private static let outer: (client: [UInt8], exit: [UInt8]) = ([192, 0, 2, 1], [192, 0, 2, 2])

    private static func cone(_ address: [UInt8]) -> SimulatedNAT {
        SimulatedNAT(.endpointIndependent, .portDependent, address: address)
    }
    private static func open(_ address: [UInt8]) -> SimulatedNAT {
        SimulatedNAT(.endpointIndependent, .endpointIndependent, address: address)
    }
    private static func symmetric(_ address: [UInt8]) -> SimulatedNAT {
        SimulatedNAT(.symmetric, .portDependent, address: address)
    }

    @Test("two port-restricted NATs are passed within a second, with a few requests")
    func portRestricted() {
        var peers = SimulatedDirectPeers(client: Self.cone(Self.outer.client), exit: Self.cone(Self.outer.exit))
        peers.exchange()
        peers.advance(.seconds(1), withPackets: true)
        #expect(peers.client.checks.selected?.bytes == Self.outer.exit)
        #expect(peers.exit.checks.selected?.bytes == Self.outer.client)
        #expect(peers.arrived.client > 3 && peers.arrived.exit > 3)
        #expect(peers.client.requests < 20 && peers.exit.requests < 20)
    }

    @Test("a public address, and a NAT that lets everybody in, are reached from a symmetric NAT")
    func symmetricWithOpen() {
        for exit in [nil, Self.open(Self.outer.exit)] {
            var peers = SimulatedDirectPeers(client: Self.symmetric(Self.outer.client), exit: exit)
            peers.exchange()
            peers.advance(.seconds(1), withPackets: true)
            #expect(peers.client.checks.selected != nil && peers.exit.checks.selected?.bytes == Self.outer.client)
            #expect(peers.arrived.client > 3 && peers.arrived.exit > 3)
        }
        var reverse = SimulatedDirectPeers(client: nil, exit: Self.symmetric(Self.outer.exit))
        reverse.exchange()
        reverse.advance(.seconds(1), withPackets: true)
        #expect(reverse.client.checks.selected?.bytes == Self.outer.exit && reverse.arrived.exit > 3)
    }

    @Test("two symmetric NATs are not passed, and the attempts end")
    func symmetric() {
        var peers = SimulatedDirectPeers(
            client: Self.symmetric(Self.outer.client),
            exit: Self.symmetric(Self.outer.exit)
        )
        peers.exchange()
        peers.advance(.seconds(20))
        #expect(peers.client.checks.selected == nil && peers.exit.checks.selected == nil)
        let requests = peers.client.requests
        #expect(requests <= 2 * 7)
        peers.advance(.seconds(20))
        #expect(peers.client.requests == requests)
    }

    @Test("in one network, the local addresses are used")
    func sameNetwork() {
        var peers = SimulatedDirectPeers(
            client: Self.cone(Self.outer.client),
            exit: Self.cone(Self.outer.client),
            sameNetwork: true
        )
        peers.exchange()
        peers.advance(.seconds(1), withPackets: true)
        #expect(peers.client.checks.selected == peers.exit.address)
        #expect(peers.exit.checks.selected == peers.client.address)
    }

    @Test("an idle path keeps its mapping alive with few requests")
    func keepAlive() {
        var peers = SimulatedDirectPeers(client: Self.cone(Self.outer.client), exit: Self.cone(Self.outer.exit))
        peers.exchange()
        peers.advance(.seconds(2), withPackets: true)
        let before = peers.client.requests + peers.exit.requests
        peers.advance(.minutes(10))
        #expect(peers.client.losses == 0 && peers.exit.losses == 0)
        let requests = peers.client.requests + peers.exit.requests - before
        // One each 15 seconds, by either side.
        #expect((30...100).contains(requests))
        let arrived = peers.arrived.exit
        peers.advance(.milliseconds(200), withPackets: true)
        #expect(peers.arrived.exit > arrived)
    }

    @Test("when the client's NAT forgets its mapping, the exit follows to the new one")
    func rebinding() {
        var peers = SimulatedDirectPeers(client: Self.cone(Self.outer.client), exit: Self.open(Self.outer.exit))
        peers.exchange()
        peers.advance(.seconds(1), withPackets: true)
        let first = peers.exit.checks.selected
        peers.client.nat?.rebind()
        peers.advance(.milliseconds(500), withPackets: true)
        #expect(peers.exit.checks.selected != first && peers.exit.checks.selected?.bytes == Self.outer.client)
        let arrived = peers.arrived.client
        peers.advance(.milliseconds(500), withPackets: true)
        #expect(peers.arrived.client > arrived + 2)
        #expect(peers.exit.losses == 0)
    }

    @Test("a cut path is lost within a second after it is suspected, and found again when it is back")
    func cut() {
        var peers = SimulatedDirectPeers(client: Self.cone(Self.outer.client), exit: Self.cone(Self.outer.exit))
        peers.exchange()
        peers.advance(.seconds(1), withPackets: true)
        peers.isCut = true
        peers.client.checks.suspect(at: peers.now)
        peers.exit.checks.suspect(at: peers.now)
        peers.advance(.seconds(1), withPackets: true)
        #expect(peers.client.losses == 1 && peers.exit.losses == 1)
        #expect(peers.client.checks.selected == nil)
        peers.advance(.seconds(5))
        peers.isCut = false
        peers.exchange()
        peers.advance(.seconds(2), withPackets: true)
        #expect(peers.client.checks.selected != nil && peers.exit.checks.selected != nil)
    }

    @Test("the address in use is validated again even while packets arrive from it, and is lost without a response")
    func confirmation() {
        var peers = SimulatedDirectPeers(client: nil, exit: nil)
        peers.exchange()
        peers.advance(.seconds(1), withPackets: true)
        let requests = peers.exit.requests
        peers.advance(.minutes(3), withPackets: true)
        #expect((3...5).contains(peers.exit.requests - requests) && peers.exit.losses == 0)
        // Packets with the client's address arrive from somebody else, who does not get the requests.
        guard let address = peers.exit.checks.selected else { return #expect(Bool(false)) }
        peers.isCut = true
        var passed = 0
        while peers.exit.losses == 0, passed < 120 * 50 {
            peers.exit.checks.receivedPacket(from: address, isNewest: true, at: peers.now)
            peers.advance(.milliseconds(20))
            passed += 1
        }
        #expect((10...60).contains(passed / 50))
    }

    @Test("an address that was validated long ago is validated again before packets move to it")
    func expiredAddress() throws {
        var checks = ConnectivityChecks(isClient: false, secret: .zero)
        let first = try #require(TransportAddress([203, 0, 113, 1], port: 1))
        let second = try #require(TransportAddress([203, 0, 113, 2], port: 1))
        var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
        var answered: Set<TransportAddress> = [first, second]
        func advance(_ steps: Int) {
            for _ in 0..<steps {
                checks.timeout(at: now)
                while let action = checks.nextAction() {
                    if case .send(.request(let token), let address) = action, answered.contains(address) {
                        checks.receive(.response(token: token, observed: address), from: address, at: now)
                    }
                }
                now = now + .milliseconds(20)
            }
        }
        checks.setCandidates([first, second], at: now)
        advance(10)
        checks.receivedPacket(from: first, isNewest: true, at: now)
        advance(50)
        #expect(checks.selected == first)
        checks.receivedPacket(from: second, isNewest: true, at: now)
        #expect(checks.selected == second)
        advance(50)
        checks.receivedPacket(from: first, isNewest: true, at: now)
        #expect(checks.selected == first)
        answered = [first]
        advance(50 * 61)
        checks.receivedPacket(from: second, isNewest: true, at: now)
        #expect(checks.selected == first)
        advance(50)
        #expect(checks.selected == first)
    }

    @Test("a packet that somebody sends again from another address moves the path only if that address answers")
    func replayedFromElsewhere() throws {
        var peers = SimulatedDirectPeers(client: nil, exit: nil)
        peers.exchange()
        peers.advance(.seconds(1), withPackets: true)
        let selected = peers.exit.checks.selected
        let victim = try #require(TransportAddress([203, 0, 113, 99], port: 53))
        let before = peers.exit.requests
        // An attacker on the path is faster than the client's own datagram.
        peers.exit.checks.receivedPacket(from: victim, isNewest: true, at: peers.now)
        peers.advance(.seconds(30), withPackets: true)
        #expect(peers.exit.checks.selected == selected)
        #expect(peers.exit.requests - before <= 7 + 3)
    }

    @Test("a peer that names the address of a victim again and again causes a bounded number of requests")
    func victims() throws {
        var checks = ConnectivityChecks(isClient: false, secret: .zero)
        var now = NIODeadline.uptimeNanoseconds(0)
        var requests = 0
        for round in 0..<3_000 {
            let addresses = try (0..<16).map {
                try #require(TransportAddress([203, 0, 113, UInt8($0)], port: UInt16(round + 1)))
            }
            checks.setCandidates(addresses, at: now)
            for _ in 0..<10 {
                now = now + .milliseconds(20)
                checks.timeout(at: now)
                while case .send? = checks.nextAction() { requests += 1 }
            }
        }
        // Ten minutes.
        #expect(requests <= 256 + 600 + 1)
    }

    @Test("a token that was not sent proves nothing")
    func forgedToken() throws {
        var checks = ConnectivityChecks(isClient: true, secret: .zero)
        let address = try #require(TransportAddress([203, 0, 113, 1], port: 1))
        let now = NIODeadline.uptimeNanoseconds(1_000_000_000)
        checks.setCandidates([address], at: now)
        checks.timeout(at: now)
        for token in 0..<1_000 as Range<UInt64> {
            checks.receive(.response(token: token, observed: address), from: address, at: now)
        }
        #expect(checks.selected == nil)
    }

    @Test("a peer that sends many requests gets few responses, and more in the next second")
    func floodOfRequests() throws {
        var checks = ConnectivityChecks(isClient: false, secret: .zero)
        let address = try #require(TransportAddress([203, 0, 113, 1], port: 1))
        for second in 1...3 as ClosedRange<UInt64> {
            let now = NIODeadline.uptimeNanoseconds(second * 1_000_000_000)
            for token in 0..<1_000 as Range<UInt64> { checks.receive(.request(token: token), from: address, at: now) }
            var responses = 0
            while let action = checks.nextAction() {
                if case .send(.response, _) = action { responses += 1 }
            }
            #expect(responses == ConnectivityChecks.responsesPerInterval)
        }
    }
}
