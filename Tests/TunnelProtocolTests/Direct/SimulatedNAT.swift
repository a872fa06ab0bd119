//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import STUN
import TunnelProtocol

/// A NAT in a simulation (RFC 4787): how it maps addresses, and which datagrams it lets in.
struct SimulatedNAT {
    enum Mapping {
        /// One outer address for each inner one (endpoint-independent).
        case endpointIndependent
        /// Another outer port for each destination (address- and port-dependent): a symmetric NAT.
        case symmetric
    }

    enum Filtering {
        /// Everybody may send to a mapping.
        case endpointIndependent
        /// Only addresses and ports to which something was sent.
        case portDependent
    }

    private struct Key: Hashable {
        let inner: TransportAddress
        /// Nil for an endpoint-independent mapping.
        let destination: TransportAddress?
    }

    private struct Entry {
        let port: UInt16
        var destinations: [TransportAddress: NIODeadline]
        var usedAt: NIODeadline
    }

    let mapping: Mapping
    let filtering: Filtering
    /// How long a mapping is kept that is not used.
    var lifetime: TimeAmount = .seconds(30)
    /// The bytes of the outer IP address.
    let address: [UInt8]
    private var entries: [Key: Entry] = [:]
    private var nextPort: UInt16 = 20_000

    init(_ mapping: Mapping, _ filtering: Filtering, address: [UInt8]) {
        self.mapping = mapping
        self.filtering = filtering
        self.address = address
    }

    /// Forgets all mappings. The next ones have other ports.
    mutating func rebind() { self.entries = [:] }

    /// Sends a datagram out. Returns the source that its receiver sees.
    mutating func send(
        from inner: TransportAddress,
        to destination: TransportAddress,
        at now: NIODeadline
    ) -> TransportAddress? {
        let key = Key(inner: inner, destination: self.mapping == .symmetric ? destination : nil)
        var entry = self.entries[key].flatMap { $0.usedAt + self.lifetime > now ? $0 : nil }
        if entry == nil {
            self.nextPort += 7
            entry = Entry(port: self.nextPort, destinations: [:], usedAt: now)
        }
        entry?.destinations[destination] = now
        entry?.usedAt = now
        self.entries[key] = entry
        return entry.flatMap { TransportAddress(self.address, port: $0.port) }
    }

    /// Returns the inner address to which a datagram goes that arrives from outside; nil if it is dropped.
    mutating func receive(from source: TransportAddress, to port: UInt16, at now: NIODeadline) -> TransportAddress? {
        for (key, entry) in self.entries where entry.port == port && entry.usedAt + self.lifetime > now {
            let isExpected = entry.destinations[source].map { $0 + self.lifetime > now } ?? false
            let isOpen = self.filtering == .endpointIndependent && self.mapping == .endpointIndependent
            guard isExpected || isOpen else { continue }
            return key.inner
        }
        return nil
    }
}
