//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
public import NIOCore

/// Which addresses of a relay or entry this node may connect to.
///
/// A relay that the user configured may have any address. A relay that someone else named (in a name, a list) must not
/// make this node connect to what only this node can reach.
public enum DialPolicy: Hashable, Sendable {
    /// The user configured the relay.
    case configured
    /// Someone else named it. Loopback and private addresses are allowed, because this node serves only its own host.
    case namedByOthersAllowingLocal
    /// Someone else named it. Only addresses of the internet are allowed.
    case namedByOthers

    /// Whether to connect to `address`. Link-local (cloud metadata), multicast and reserved addresses are allowed only for
    /// a relay that the user configured.
    public func allows(_ address: SocketAddress) -> Bool {
        switch (self, AddressClass(address)) {
        case (.configured, _), (_, .global): true
        case (.namedByOthersAllowingLocal, .loopback), (.namedByOthersAllowingLocal, .privateNetwork): true
        case (.namedByOthersAllowingLocal, .linkLocal), (.namedByOthersAllowingLocal, .metadata),
            (.namedByOthersAllowingLocal, .multicast), (.namedByOthersAllowingLocal, .reserved), (.namedByOthers, _):
            false
        }
    }

    var isNamedByOthers: Bool { self == .namedByOthers || self == .namedByOthersAllowingLocal }

    /// Whether to let a proxy connect to `host`. The proxy resolves names, so only the text of the host can be checked.
    func allows(host: String) -> Bool {
        if let address = try? SocketAddress(ipAddress: host, port: 0) { return self.allows(address) }
        guard self.isNamedByOthers else { return true }
        // Addresses in forms that only some resolvers accept: 127.1, 2130706433, 0x7f000001.
        guard let last = host.split(separator: ".", omittingEmptySubsequences: false).last, let first = last.utf8.first,
            !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first)
        else { return false }
        let isLocal = host == "localhost" || host.hasSuffix(".localhost")
        return !isLocal || self != .namedByOthers
    }
}
