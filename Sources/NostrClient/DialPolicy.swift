//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
public import NIOCore

/// Which addresses of relays may be dialled.
///
/// A relay that the user configured may be anywhere. One that somebody else named (in a name, a list) may not make us
/// talk to what only we can reach, except where the user is alone with this process anyway.
public enum DialPolicy: Hashable, Sendable {
    /// The relay runs in this process: it is never looked for by way of a proxy.
    case own
    /// The user configured the relay.
    case configured
    /// Somebody named it; loopback and private addresses are allowed because this node serves this host alone.
    case namedByOthersAllowingLocal
    /// Somebody named it.
    case namedByOthers

    /// Whether to dial `address`. Link-local (cloud metadata), multicast and reserved ones are never dialled for others.
    public func allows(_ address: SocketAddress) -> Bool {
        switch (self, AddressClass(address)) {
        case (.own, _), (.configured, _), (_, .global): true
        case (.namedByOthersAllowingLocal, .loopback), (.namedByOthersAllowingLocal, .privateNetwork): true
        case (.namedByOthersAllowingLocal, .linkLocal), (.namedByOthersAllowingLocal, .metadata),
            (.namedByOthersAllowingLocal, .multicast), (.namedByOthersAllowingLocal, .reserved), (.namedByOthers, _):
            false
        }
    }

    var isNamedByOthers: Bool { self == .namedByOthers || self == .namedByOthersAllowingLocal }

    /// Whether to have a proxy dial `host`. A name is looked up there, so only what it says itself can be judged.
    func allows(host: String) -> Bool {
        if let address = try? SocketAddress(ipAddress: host, port: 0) { return self.allows(address) }
        guard self.isNamedByOthers else { return true }
        // Forms of addresses that only some resolvers know (127.1, 2130706433, 0x7f000001), and names in disguise.
        guard let last = host.split(separator: ".", omittingEmptySubsequences: false).last, let first = last.utf8.first,
            !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first)
        else { return false }
        let isLocal = host == "localhost" || host.hasSuffix(".localhost")
        return !isLocal || self != .namedByOthers
    }
}
