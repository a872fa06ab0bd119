//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import STUN
import TunnelProtocol

/// A client and an exit that check addresses over a simulated network with NATs.
struct SimulatedDirectPeers {
    /// One of the two nodes.
    struct Node {
        var checks: ConnectivityChecks
        /// The address of its socket.
        var address: TransportAddress
        /// The network that the address belongs to. Nodes of one network reach each other without a NAT.
        var network: Int
        var nat: SimulatedNAT?
        var used: [TransportAddress] = []
        var losses = 0
        var requests = 0
    }

    private struct Datagram {
        let check: ConnectivityCheck?
        let number: UInt64
        let source: TransportAddress
        let destination: TransportAddress
        let network: Int
        let due: NIODeadline
    }

    var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    var client: Node
    var exit: Node
    var delay: TimeAmount = .milliseconds(20)
    /// Whether no datagram arrives.
    var isCut = false
    private var datagrams: [Datagram] = []
    private var nextPacket: UInt64 = 0
    private var newestPacket: UInt64?
    /// Number of packets of each side that arrived.
    private(set) var arrived = (client: 0, exit: 0)

    init(client: SimulatedNAT?, exit: SimulatedNAT?, sameNetwork: Bool = false) {
        func node(_ isClient: Bool, _ nat: SimulatedNAT?) -> Node {
            let last: UInt8 = isClient ? 1 : 2
            let bytes: [UInt8] = nat == nil ? [203, 0, 113, last] : [10, 0, sameNetwork ? 0 : last, last]
            let secret = Bytes32([UInt8](repeating: last, count: 32)) ?? .zero
            return Node(
                checks: ConnectivityChecks(isClient: isClient, secret: secret),
                address: TransportAddress(bytes, port: 5_000) ?? Self.server,
                network: nat == nil ? 0 : sameNetwork ? 1 : Int(last),
                nat: nat
            )
        }
        self.client = node(true, client)
        self.exit = node(false, exit)
    }

    /// The address of a STUN server.
    static let server = unsafe TransportAddress([198, 51, 100, 1], port: 3_478).unsafelyUnwrapped

    /// The candidates of a node: its own address, and the one that a STUN server sees.
    mutating func candidates(ofClient isClient: Bool) -> [TransportAddress] {
        let node = isClient ? self.client : self.exit
        let seen = self.translate(from: isClient, to: Self.server)
        return [node.address] + (seen == node.address ? [] : [seen].compactMap { $0 })
    }

    /// Exchanges the candidates, as the session does.
    mutating func exchange() {
        let (ofClient, ofExit) = (self.candidates(ofClient: true), self.candidates(ofClient: false))
        self.client.checks.setCandidates(ofExit, at: self.now)
        self.exit.checks.setCandidates(ofClient, at: self.now)
    }

    private mutating func translate(from isClient: Bool, to destination: TransportAddress) -> TransportAddress? {
        let now = self.now
        if isClient {
            return self.client.nat?.send(from: self.client.address, to: destination, at: now) ?? self.client.address
        }
        return self.exit.nat?.send(from: self.exit.address, to: destination, at: now) ?? self.exit.address
    }

    private mutating func send(
        _ check: ConnectivityCheck?,
        _ number: UInt64,
        fromClient isClient: Bool,
        to destination: TransportAddress
    ) {
        let node = isClient ? self.client : self.exit
        let other = isClient ? self.exit : self.client
        // Inside of a network no NAT is on the way.
        let isInside = destination == other.address && node.network == other.network
        guard let source = isInside ? node.address : self.translate(from: isClient, to: destination) else { return }
        self.datagrams.append(
            Datagram(
                check: check,
                number: number,
                source: source,
                destination: destination,
                network: isInside ? node.network : 0,
                due: self.now + self.delay
            )
        )
    }

    /// Sends a packet of the session from each side that has an address for it.
    mutating func sendPackets() {
        for isClient in [true, false] {
            guard let to = isClient ? self.client.checks.selected : self.exit.checks.selected else { continue }
            self.nextPacket += 1
            self.send(nil, self.nextPacket, fromClient: isClient, to: to)
        }
    }

    /// Lets time pass. Packets are sent each 100 ms if `withPackets`.
    mutating func advance(_ time: TimeAmount, withPackets: Bool = false) {
        let end = self.now + time
        var nextPackets = self.now
        while self.now < end {
            if withPackets, nextPackets <= self.now {
                self.sendPackets()
                nextPackets = self.now + .milliseconds(100)
            }
            self.deliver()
            self.client.checks.timeout(at: self.now)
            self.exit.checks.timeout(at: self.now)
            self.perform()
            self.now = self.now + .milliseconds(5)
        }
    }

    private mutating func perform() {
        while let action = self.client.checks.nextAction() { self.perform(action, isClient: true) }
        while let action = self.exit.checks.nextAction() { self.perform(action, isClient: false) }
    }

    private mutating func perform(_ action: ConnectivityChecks.Action, isClient: Bool) {
        var node = isClient ? self.client : self.exit
        switch action {
        case .send(let check, let address):
            if case .request = check { node.requests += 1 }
            if isClient { self.client.requests = node.requests } else { self.exit.requests = node.requests }
            return self.send(check, 0, fromClient: isClient, to: address)
        case .use(let address): node.used.append(address)
        case .lost: node.losses += 1
        case .find: break
        }
        if isClient {
            (self.client.used, self.client.losses) = (node.used, node.losses)
        } else {
            (self.exit.used, self.exit.losses) = (node.used, node.losses)
        }
    }

    private mutating func deliver() {
        let due = self.datagrams.filter { $0.due <= self.now }
        self.datagrams.removeAll { $0.due <= self.now }
        guard !self.isCut else { return }
        for datagram in due { self.deliver(datagram) }
    }

    private mutating func deliver(_ datagram: Datagram) {
        for isClient in [true, false] {
            let node = isClient ? self.client : self.exit
            var target: TransportAddress? = datagram.destination
            if node.network != datagram.network {
                guard datagram.destination.bytes == node.nat?.address else { continue }
                if isClient {
                    target = self.client.nat?.receive(
                        from: datagram.source,
                        to: datagram.destination.port,
                        at: self.now
                    )
                } else {
                    target = self.exit.nat?.receive(from: datagram.source, to: datagram.destination.port, at: self.now)
                }
            }
            guard target == node.address else { continue }
            self.receive(datagram, isClient: isClient)
            return
        }
    }

    private mutating func receive(_ datagram: Datagram, isClient: Bool) {
        if let check = datagram.check {
            if isClient {
                self.client.checks.receive(check, from: datagram.source, at: self.now)
            } else {
                self.exit.checks.receive(check, from: datagram.source, at: self.now)
            }
            return
        }
        if isClient {
            self.arrived.client += 1
            self.client.checks.receivedPacket(from: datagram.source, isNewest: true, at: self.now)
        } else {
            self.arrived.exit += 1
            let isNewest = self.newestPacket.map { $0 < datagram.number } ?? true
            if isNewest { self.newestPacket = datagram.number }
            self.exit.checks.receivedPacket(from: datagram.source, isNewest: isNewest, at: self.now)
        }
    }
}
