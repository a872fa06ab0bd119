//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
public import NIOCore

/// Which addresses a node may connect to, for a relay or for an entry that requests a reverse connection (CONNECTR).
///
/// A relay that the user configured may have any address. A host that someone else supplied, for example in a `.nostr`
/// name or a relay list, is restricted, because this node may reach addresses that others cannot.
public enum DialPolicy: Hashable, Sendable {
    /// The user configured the host. Every address is allowed.
    case configured
    /// Someone else supplied the host. Public, loopback and private addresses are allowed. Use it for a node that
    /// whose user has asked for the host, or if the user allows local addresses.
    case untrustedAllowingLocal
    /// Someone else supplied the host. Only public internet addresses are allowed.
    case untrusted

    /// Whether to connect to `address`. Link-local addresses, cloud metadata services, and multicast and reserved
    /// addresses are allowed only for hosts that the user configured.
    public func allows(_ address: SocketAddress) -> Bool {
        switch (self, AddressClass(address)) {
        case (.configured, _), (_, .global): true
        case (.untrustedAllowingLocal, .loopback), (.untrustedAllowingLocal, .privateNetwork): true
        case (.untrustedAllowingLocal, .linkLocal), (.untrustedAllowingLocal, .metadata),
            (.untrustedAllowingLocal, .multicast), (.untrustedAllowingLocal, .reserved), (.untrusted, _):
            false
        }
    }

    /// Whether to connect to `address` with a request for `path`. A URL that someone else supplied must not send a query to
    /// a local service, because the service might act on it.
    func allows(_ address: SocketAddress, requestTarget path: String) -> Bool {
        guard self.allows(address) else { return false }
        return !self.isUntrusted || AddressClass(address) == .global || !path.contains("?")
    }

    var isUntrusted: Bool { self == .untrusted || self == .untrustedAllowingLocal }

    /// Whether to let a proxy connect to `host`. The proxy resolves names, so only the text of the host can be checked.
    package func allows(host: String) -> Bool {
        if let address = try? SocketAddress(ipAddress: host, port: 0) { return self.allows(address) }
        guard self.isUntrusted else { return true }
        // Addresses in forms that only some resolvers accept: 127.1, 2130706433, 0x7f000001.
        guard let last = host.split(separator: ".", omittingEmptySubsequences: false).last, let first = last.utf8.first,
            !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first)
        else { return false }
        let isLocal = host == "localhost" || host.hasSuffix(".localhost")
        return !isLocal || self != .untrusted
    }
}
