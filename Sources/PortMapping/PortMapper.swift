//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
package import NIOCore
package import STUN

/// Asks the router to send datagrams for one of its ports to this node, so that peers reach the node behind its NAT: by PCP
/// (RFC 6887), or by NAT-PMP (RFC 6886) if the router does not know PCP.
///
/// It performs no I/O. All messages go to and come from port 5351 of the router.
package struct PortMapper: Sendable {
    /// The protocol of a mapping.
    package enum MappingProtocol: String, Sendable {
        case pcp = "PCP"
        case natPMP = "NAT-PMP"
    }

    private enum Phase: Hashable {
        case idle
        /// Waiting for an answer. The value is the number of requests sent.
        case asking(Int)
        /// The mapping is renewed at the deadline.
        case mapped
        /// The router does not answer or refuses. It is not asked before the deadline.
        case unavailable
    }

    /// The UDP port of routers for both protocols.
    package static let routerPort = 5_351

    /// Wanted lifetime of a mapping in seconds (RFC 6886, section 3.3).
    private static let lifetime: UInt32 = 7_200
    /// Granted lifetimes are taken as at least and at most these.
    private static let lifetimes: ClosedRange<UInt32> = 60...86_400
    /// Time until the first repetition of a request, which then doubles, and the number of requests (RFC 6886, section 3.1).
    private static let firstRepetition: TimeAmount = .milliseconds(250)
    private static let maximumRequests = 5
    /// How long a router that does not answer or refuses is left alone.
    private static let pause: TimeAmount = .minutes(10)
    /// Minimum time between two requests of ``refresh(at:)``.
    private static let refreshing: TimeAmount = .seconds(30)

    private let nonce: PortMappingNonce
    private let client: TransportAddress
    private var phase = Phase.idle
    private var usedProtocol = MappingProtocol.pcp
    private var deadline: NIODeadline?
    private var lastSuccess: NIODeadline?
    private var expiry: NIODeadline?
    private var external: TransportAddress?
    /// The parts of NAT-PMP's answer.
    private var externalAddress: [UInt8]?
    private var externalPort: (port: UInt16, lifetime: UInt32)?
    private var requests: Deque<ByteBuffer> = []

    /// - Parameters:
    ///   - client: The address of this machine at the router, and the UDP port to be mapped.
    ///   - nonce: The nonce of the mapping.
    package init(client: TransportAddress, nonce: PortMappingNonce) {
        self.client = client
        self.nonce = nonce
    }

    /// The mapping: the address and port at which the router receives datagrams for this node, and by which protocol.
    package var mapping: (address: TransportAddress, by: MappingProtocol)? {
        self.external.map { ($0, self.usedProtocol) }
    }

    /// The next message for the router.
    package mutating func nextRequest() -> ByteBuffer? { self.requests.popFirst() }

    /// When ``timeout(at:)`` must be called; nil if nothing is due.
    package var nextDeadline: NIODeadline? {
        guard let expiry, let deadline else { return self.expiry ?? self.deadline }
        return min(expiry, deadline)
    }

    // MARK: Inputs

    /// Requests or renews the mapping. Does nothing if the router has confirmed it within ``refreshing``, or has refused or not
    /// answered within ``pause``.
    package mutating func refresh(at now: NIODeadline) {
        switch self.phase {
        case .asking: break
        case .idle: self.ask(at: now)
        case .unavailable: if self.deadline.map({ $0 <= now }) ?? true { self.ask(at: now) }
        case .mapped: if self.lastSuccess.map({ $0 + Self.refreshing <= now }) ?? true { self.ask(at: now) }
        }
    }

    /// Handles a datagram of the router. Returns whether ``mapping`` has changed.
    package mutating func receive(_ datagram: ByteBuffer, at now: NIODeadline) -> Bool {
        guard case .asking = self.phase else { return false }
        switch self.usedProtocol {
        case .pcp:
            guard
                let response = PCPMessage.response(datagram, nonce: self.nonce, internalPort: self.client.port)
                    ?? self.natPMPRefusal(datagram)
            else { return false }
            return self.receive(response, at: now)
        case .natPMP:
            guard let response = NATPMPMessage.response(datagram, internalPort: self.client.port) else { return false }
            return self.receive(response, at: now)
        }
    }

    /// Routers with NAT-PMP alone answer in its form that they do not know the version (RFC 6887, appendix A).
    private func natPMPRefusal(_ datagram: ByteBuffer) -> PCPMessage.Response? {
        var buffer = datagram
        guard let (version, _, result) = buffer.readMultipleIntegers(as: (UInt8, UInt8, UInt16).self),
            version < PCPMessage.version, result == UInt16(PCPMessage.unsupportedVersion)
        else { return nil }
        return PCPMessage.Response(result: PCPMessage.unsupportedVersion, lifetime: 0, external: nil)
    }

    private mutating func receive(_ response: PCPMessage.Response, at now: NIODeadline) -> Bool {
        if response.result == PCPMessage.unsupportedVersion {
            self.usedProtocol = .natPMP
            self.ask(at: now)
            return false
        }
        guard let external = response.external, response.lifetime > 0 else {
            self.fail(at: now)
            return false
        }
        return self.succeed(external, lifetime: response.lifetime, at: now)
    }

    private mutating func receive(_ response: NATPMPMessage.Response, at now: NIODeadline) -> Bool {
        switch response {
        case .address(let address): self.externalAddress = address
        case .port(let port, let lifetime): self.externalPort = (port, lifetime)
        case .refused:
            self.fail(at: now)
            return false
        }
        guard let externalAddress, let externalPort else { return false }
        guard externalPort.lifetime > 0,
            let external = TransportAddress(externalAddress, port: externalPort.port)
        else {
            self.fail(at: now)
            return false
        }
        return self.succeed(external, lifetime: externalPort.lifetime, at: now)
    }

    /// Nothing listens at the router's port.
    package mutating func unreachable(at now: NIODeadline) {
        if case .asking = self.phase { self.fail(at: now) }
    }

    /// Performs what is due. Returns whether ``mapping`` has changed.
    package mutating func timeout(at now: NIODeadline) -> Bool {
        var hasChanged = false
        if let expiry, expiry <= now {
            self.expiry = nil
            self.external = nil
            hasChanged = true
        }
        guard let deadline, deadline <= now else { return hasChanged }
        switch self.phase {
        case .mapped: self.ask(at: now)
        // A mapping that could not be renewed may still be renewed later.
        case .unavailable where self.external != nil: self.ask(at: now)
        case .idle, .unavailable: self.deadline = nil
        case .asking(let requests) where requests < Self.maximumRequests: self.send(requests + 1, at: now)
        case .asking: self.fail(at: now)
        }
        return hasChanged
    }

    /// Removes the mapping, also one that the router may have made without its answer having arrived: adds the message that does so
    /// to the requests.
    package mutating func stop() {
        self.requests.removeAll()
        var mayExist = self.external != nil
        if case .asking = self.phase { mayExist = true }
        if mayExist {
            switch self.usedProtocol {
            case .pcp:
                self.requests.append(
                    PCPMessage.request(client: self.client, nonce: self.nonce, lifetime: 0, external: external)
                )
            case .natPMP:
                self.requests.append(
                    NATPMPMessage.mappingRequest(internalPort: self.client.port, externalPort: 0, lifetime: 0)
                )
            }
        }
        self.external = nil
        self.expiry = nil
        self.deadline = nil
        self.phase = .idle
    }

    // MARK: Steps

    private mutating func ask(at now: NIODeadline) {
        self.externalAddress = nil
        self.externalPort = nil
        self.send(1, at: now)
    }

    private mutating func send(_ number: Int, at now: NIODeadline) {
        self.phase = .asking(number)
        self.deadline = now + Self.firstRepetition * (1 << (number - 1))
        switch self.usedProtocol {
        case .pcp:
            self.requests.append(
                PCPMessage.request(
                    client: self.client,
                    nonce: self.nonce,
                    lifetime: Self.lifetime,
                    external: self.external
                )
            )
        case .natPMP:
            if self.externalAddress == nil { self.requests.append(NATPMPMessage.addressRequest) }
            self.requests.append(
                NATPMPMessage.mappingRequest(
                    internalPort: self.client.port,
                    externalPort: self.external?.port ?? self.client.port,
                    lifetime: Self.lifetime
                )
            )
        }
    }

    private mutating func succeed(_ external: TransportAddress, lifetime: UInt32, at now: NIODeadline) -> Bool {
        let lifetime = min(max(lifetime, Self.lifetimes.lowerBound), Self.lifetimes.upperBound)
        let hasChanged = self.external != external
        self.phase = .mapped
        self.external = external
        self.lastSuccess = now
        // Half of the lifetime remains for a router that does not answer at once.
        self.deadline = now + .seconds(Int64(lifetime) / 2)
        self.expiry = now + .seconds(Int64(lifetime))
        return hasChanged
    }

    /// The router does not answer or refuses. A mapping remains until it expires.
    private mutating func fail(at now: NIODeadline) {
        self.phase = .unavailable
        self.deadline = now + Self.pause
        // A router that was replaced may know PCP.
        if self.external == nil { self.usedProtocol = .pcp }
    }
}
