//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1

/// Counts connections, in all and by address. Behind proxies that are trusted the address is the client's, not theirs.
package final class ConnectionCounter: Sendable {
    private struct State {
        var configuration: HTTPServer.Configuration
        var total = 0
        /// Holds as many entries as there are connections at most.
        var byAddress: [String: Int] = [:]

        mutating func count(_ key: String) -> Bool {
            let isLoopback = key.hasPrefix("127.") || key == "::1" || key.isEmpty
            let limit =
                isLoopback
                ? self.configuration.maximumLoopbackConnections : self.configuration.maximumConnectionsPerAddress
            guard self.byAddress[key, default: 0] < limit else { return false }
            self.byAddress[key, default: 0] += 1
            return true
        }

        mutating func uncount(_ key: String) {
            guard let count = self.byAddress[key] else { return }
            self.byAddress[key] = count > 1 ? count - 1 : nil
        }
    }

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

    /// Whether one more connection may be. A trusted proxy has as many as there may be in all.
    func admit(_ address: SocketAddress?) -> Bool {
        let isTrusted = self.isTrusted(address)
        return self.state.withLockedValue { state in
            guard state.total < state.configuration.maximumConnections,
                isTrusted || state.count(address?.ipAddress ?? "")
            else { return false }
            state.total += 1
            return true
        }
    }

    func release(_ address: SocketAddress?) {
        let isTrusted = self.isTrusted(address)
        self.state.withLockedValue { state in
            state.total -= 1
            if !isTrusted { state.uncount(address?.ipAddress ?? "") }
        }
    }

    // MARK: Proxies

    /// The client behind a trusted proxy: the last address of X-Forwarded-For that is no such proxy itself, since only what
    /// trusted ones wrote can be believed. Nil where the peer is no trusted proxy, or says nothing that can be read.
    func client(of head: HTTPRequestHead, from peer: SocketAddress?) -> SocketAddress? {
        guard self.isTrusted(peer) else { return nil }
        let hops = head.headers[canonicalForm: "X-Forwarded-For"].suffix(Self.maximumHops)
        for hop in hops.reversed() {
            guard let address = Self.address(String(hop)) else { return nil }
            if !self.isTrusted(address) { return address }
        }
        return nil
    }

    /// Most hops that are looked at.
    private static let maximumHops = 16

    /// An address, perhaps with a port as some proxies write it.
    private static func address(_ text: String) -> SocketAddress? {
        if let address = try? SocketAddress(ipAddress: text, port: 0) { return address }
        guard let colon = text.lastIndex(of: ":") else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        return try? SocketAddress(ipAddress: String(host), port: 0)
    }

    func admit(forwarded client: SocketAddress) -> Bool {
        self.state.withLockedValue { $0.count(client.ipAddress ?? "") }
    }

    func release(forwarded client: SocketAddress) {
        self.state.withLockedValue { $0.uncount(client.ipAddress ?? "") }
    }
}
