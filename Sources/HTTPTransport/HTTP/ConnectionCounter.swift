//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1

/// Counts and limits connections, in total and per client address, and the rate of new ones per client address.
///
/// A WebSocket connection through a trusted proxy counts for the address of the client, not for that of the proxy.
package final class ConnectionCounter: Sendable {
    private struct State {
        var configuration: HTTPServer.Configuration
        var total = 0
        /// Those without a connection are remembered because of their rate.
        var byAddress: [String: Address] = [:]
        var lastSweep: NIODeadline?

        /// Counts a connection of this address. Returns false, and counts nothing, if a limit is reached.
        ///
        /// A peer without an IP address has an empty key and the limit of loopback addresses.
        mutating func count(_ key: String, at now: NIODeadline) -> Bool {
            let isLoopback = key.hasPrefix("127.") || key == "::1" || key.isEmpty
            let limit =
                isLoopback
                ? self.configuration.maximumLoopbackConnections : self.configuration.maximumConnectionsPerAddress
            if self.byAddress[key] == nil { self.sweep(at: now) }
            var address = self.byAddress[key] ?? Address()
            guard address.connections < limit else { return false }
            if !isLoopback, let limits = self.configuration.newConnectionsPerAddress {
                var rate = address.rate ?? TokenBucket(perSecond: limits.perSecond, burst: limits.burst, now: now)
                guard rate.take(at: now) else { return false }
                address.rate = rate
            }
            address.connections += 1
            self.byAddress[key] = address
            return true
        }

        mutating func uncount(_ key: String) {
            guard let address = self.byAddress[key] else { return }
            self.byAddress[key]?.connections = max(0, address.connections - 1)
        }

        /// Forgets addresses without a connection, if there are many: those whose rate is not used, else all.
        private mutating func sweep(at now: NIODeadline) {
            guard self.byAddress.count >= ConnectionCounter.maximumAddresses,
                self.lastSweep.map({ $0 + ConnectionCounter.sweepInterval <= now }) ?? true
            else { return }
            self.lastSweep = now
            self.byAddress = self.byAddress.filter { _, address in
                guard address.connections == 0 else { return true }
                guard var rate = address.rate else { return false }
                _ = rate.take(0, at: now)
                return rate.used > 0
            }
            guard self.byAddress.count >= ConnectionCounter.maximumAddresses else { return }
            self.byAddress = self.byAddress.filter { $0.value.connections > 0 }
        }
    }

    private struct Address {
        var connections = 0
        var rate: TokenBucket?
    }

    /// Number of addresses beyond which those without a connection are forgotten, at most once per second.
    private static let maximumAddresses = 16_384
    private static let sweepInterval: TimeAmount = .seconds(1)

    private let trustedProxies: [IPNetwork]
    private let state: NIOLockedValueBox<State>

    package init(_ configuration: HTTPServer.Configuration) {
        self.trustedProxies = configuration.trustedProxies
        self.state = NIOLockedValueBox(State(configuration: configuration))
    }

    var count: Int { self.state.withLockedValue { $0.total } }

    func update(maximumConnections: Int, perAddress: Int) {
        self.state.withLockedValue { state in
            state.configuration.maximumConnections = maximumConnections
            state.configuration.maximumConnectionsPerAddress = perAddress
        }
    }

    private func isTrusted(_ address: SocketAddress?) -> Bool {
        guard let address else { return false }
        return self.trustedProxies.contains { $0.contains(address) }
    }

    /// Counts a new connection. Returns false, and counts nothing, if a limit is reached.
    ///
    /// For trusted proxies only the limit on the total applies.
    func admit(_ address: SocketAddress?, at now: NIODeadline = .now()) -> Bool {
        let isTrusted = self.isTrusted(address)
        return self.state.withLockedValue { state in
            guard state.total < state.configuration.maximumConnections,
                isTrusted || state.count(Self.key(of: address), at: now)
            else { return false }
            state.total += 1
            return true
        }
    }

    func release(_ address: SocketAddress?) {
        let isTrusted = self.isTrusted(address)
        self.state.withLockedValue { state in
            state.total -= 1
            if !isTrusted { state.uncount(Self.key(of: address)) }
        }
    }

    /// What counts as one address: an IPv4 address, or the first 64 bits of an IPv6 address, which one subscriber has. Empty
    /// for a peer without an IP address.
    static func key(of address: SocketAddress?) -> String {
        guard let address, let text = address.ipAddress else { return "" }
        guard let bytes = address.addressBytes.map(AddressClass.unmapped), text != "::1" else { return text }
        guard bytes.count == 16 else { return bytes.map(String.init).joined(separator: ".") }
        return bytes.prefix(8).map { String($0, radix: 16) }.joined(separator: ":")
    }

    // MARK: Proxies

    /// Finds the address of the client behind a trusted proxy.
    ///
    /// This is the last address in X-Forwarded-For that is not itself a trusted proxy. Earlier entries are ignored,
    /// because the client can forge them. Returns nil if the peer is not a trusted proxy, if an entry cannot be parsed,
    /// or if the last 16 entries are all trusted proxies.
    func client(of head: HTTPRequestHead, from peer: SocketAddress?) -> SocketAddress? {
        guard self.isTrusted(peer) else { return nil }
        let hops = head.headers[canonicalForm: "X-Forwarded-For"].suffix(Self.maximumHops)
        for hop in hops.reversed() {
            guard let address = Self.address(String(hop)) else { return nil }
            if !self.isTrusted(address) { return address }
        }
        return nil
    }

    /// Maximum number of X-Forwarded-For entries that are examined, counted from the end.
    private static let maximumHops = 16

    /// Parses an IP address with an optional port, which some proxies add.
    private static func address(_ text: String) -> SocketAddress? {
        if let address = try? SocketAddress(ipAddress: text, port: 0) { return address }
        guard let colon = text.lastIndex(of: ":") else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        return try? SocketAddress(ipAddress: String(host), port: 0)
    }

    func admit(forwarded client: SocketAddress, at now: NIODeadline = .now()) -> Bool {
        self.state.withLockedValue { $0.count(Self.key(of: client), at: now) }
    }

    func release(forwarded client: SocketAddress) {
        self.state.withLockedValue { $0.uncount(Self.key(of: client)) }
    }
}
