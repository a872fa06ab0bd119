//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import STUN

@testable import TunnelProtocol

/// The direct path of a simulated session as real nodes have it: sealed datagrams, checks of addresses, and a NAT before each
/// node, which may change at any time. Arrays of two have the client first.
final class SimulatedDirectNetwork {
    private struct Node {
        var path: DirectPath
        var address: TransportAddress
        var nat: SimulatedNAT?
        var accepted: Set<ConnectionID> = []
        var isOffering = false
        /// How often the node got another address.
        var moves: UInt8 = 0
    }

    private unowned let session: SimulatedSession
    private var nodes: [Node]
    var delay: TimeAmount = .milliseconds(10)
    /// Whether no datagram arrives.
    var isCut = false
    /// How often each node found an address, and lost the path.
    private(set) var found = [0, 0]
    private(set) var lost = [0, 0]

    /// The pause in which answers of STUN servers arrive.
    private static let gathering: TimeAmount = .milliseconds(50)

    init(_ session: SimulatedSession, client: SimulatedNAT?, exit: SimulatedNAT?) throws(CryptoError) {
        self.session = session
        let secret = DatagramSecret(bytes: .sha256(of: [1]))
        self.nodes = [client, exit].enumerated().map { end, nat in
            Node(
                path: DirectPath(isExit: end == 1, secret: secret, random: .sha256(of: [UInt8(end)])),
                address: Self.address(of: end, move: 0, isPublic: nat == nil),
                nat: nat
            )
        }
        session.directNetwork = self
        for end in [1, 0] { self.offer(end) }
    }

    private static func address(of end: Int, move: UInt8, isPublic: Bool) -> TransportAddress {
        let last = UInt8(end + 1)
        let bytes: [UInt8] = isPublic ? [203, 0, last, move] : [10, last, move, 1]
        return TransportAddress(bytes, port: 5_000) ?? SimulatedDirectPeers.server
    }

    /// Whether both nodes have an address for packets.
    var isFound: Bool { self.nodes.allSatisfy { $0.path.remote != nil } }

    // MARK: Changes

    /// The NAT of a node forgets its mappings. The nodes do not learn that.
    func rebind(_ end: Int) { self.nodes[end].nat?.rebind() }

    /// A node gets another address, behind another NAT or none, and notices it.
    func move(_ end: Int, behind nat: SimulatedNAT?) {
        self.nodes[end].moves += 1
        self.nodes[end].nat = nat
        self.nodes[end].address = Self.address(of: end, move: self.nodes[end].moves, isPublic: nat == nil)
        self.nodes[end].path.networkChanged(at: self.session.now)
        self.perform(end)
        self.offerLater(end)
    }

    // MARK: Driving

    private func offerLater(_ end: Int) {
        guard !self.nodes[end].isOffering else { return }
        self.nodes[end].isOffering = true
        self.session.after(Self.gathering) { self.offer(end) }
    }

    private func offer(_ end: Int) {
        self.nodes[end].isOffering = false
        let node = self.nodes[end]
        let seen = self.nodes[end].nat?.send(
            from: node.address,
            to: SimulatedDirectPeers.server,
            at: self.session.now
        )
        let candidates =
            [DirectCandidate(.host, node.address)]
            + [seen].compactMap { $0 }.map { DirectCandidate(.serverReflexive, $0) }
        self.nodes[end].path.offer(candidates, isRepeated: true, at: self.session.now)
        self.perform(end)
    }

    /// A frame of the peer.
    func receive(_ frame: SessionFrame, at end: Int) {
        let isValid = self.nodes[end].path.receive(frame, isAllowed: { _ in true }, at: self.session.now)
        if !isValid { self.session.reports[.protocolViolation, default: 0] += 1 }
        self.perform(end)
    }

    /// A packet of the session.
    func send(_ packet: ByteBuffer, number: UInt64, by end: Int) {
        guard let (datagram, address) = self.nodes[end].path.datagram(packet, number) else { return }
        self.send(datagram, to: address, by: end)
    }

    /// Packets were not acknowledged.
    func suspect(by end: Int) {
        self.nodes[end].path.suspect(at: self.session.now)
        self.perform(end)
    }

    private func perform(_ end: Int) {
        while let action = self.nodes[end].path.nextAction() {
            switch action {
            case .send(let datagram, let address, _): self.send(datagram, to: address, by: end)
            case .frame(let frame): self.session.ends[end].sendDirectFrame(frame, at: self.session.moment)
            case .accept(let id): self.nodes[end].accepted.insert(id)
            case .forget(let id): self.nodes[end].accepted.remove(id)
            case .available:
                self.found[end] += 1
                self.session.ends[end].removePath(.direct, at: self.session.moment)
                let path = self.nodes[end].path.description
                self.session.ends[end].addPath(.direct, path, at: self.session.moment)
            case .unavailable:
                self.lost[end] += 1
                self.session.ends[end].removePath(.direct, at: self.session.moment)
                self.offerLater(end)
            case .find: self.offerLater(end)
            }
        }
    }

    // MARK: Datagrams

    private func send(_ datagram: [UInt8], to address: TransportAddress, by end: Int) {
        let inner = self.nodes[end].address
        let source = self.nodes[end].nat?.send(from: inner, to: address, at: self.session.now) ?? inner
        self.session.after(self.delay) { self.deliver(datagram, from: source, to: address, at: 1 - end) }
    }

    private func deliver(_ datagram: [UInt8], from source: TransportAddress, to address: TransportAddress, at end: Int)
    {
        guard !self.isCut else { return }
        var target: TransportAddress? = address
        if let nat = self.nodes[end].nat {
            guard address.bytes == nat.address else { return }
            target = self.nodes[end].nat?.receive(from: source, to: address.port, at: self.session.now)
        }
        let datagram = ByteBuffer(bytes: datagram)
        guard target == self.nodes[end].address,
            DatagramHeader.connection(of: datagram).map(self.nodes[end].accepted.contains) ?? false
        else { return }
        let received = self.nodes[end].path.receive(datagram, from: source, at: self.session.now)
        if case .packet(let packet) = received {
            self.session.ends[end].receive([packet], at: self.session.moment)
        }
        self.perform(end)
    }

    // MARK: Time

    var nextDeadline: NIODeadline? { self.nodes.compactMap(\.path.nextDeadline).min() }

    func timeout() {
        for end in 0...1 where self.nodes[end].path.nextDeadline.map({ $0 <= self.session.now }) ?? false {
            self.nodes[end].path.timeout(at: self.session.now)
            self.perform(end)
        }
    }
}

extension DirectPath {
    /// Seals a packet. Returns the datagram and its destination; nil if the path is not available.
    mutating func datagram(_ packet: ByteBuffer, _ number: UInt64) -> (datagram: [UInt8], to: TransportAddress)? {
        var datagram = ByteBuffer()
        guard let remote, self.seal(packet, number: number, appendingTo: &datagram) else { return nil }
        return (Array(datagram.readableBytesView), remote)
    }
}
