//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto
import TunnelProtocol

/// Where a proxy's client wants to go, and with whom it may share.
struct ProxyRequest: Hashable {
    let target: TargetAddress
    /// Requests that differ in this share neither a session nor a connection to a relay. Empty for those that don't care.
    var isolation: [UInt8] = []

    /// Exits that were tried for a place on the internet.
    var triedExits: Set<PublicKey> = []

    /// Whether it is for a place on the internet.
    var isClearnet: Bool {
        if case .domain(let name) = self.target.host { !NostrName.looksLikeName(name) } else { true }
    }

    init(_ target: TargetAddress, credentials: ProxyCredentials?) {
        self.target = target
        if let credentials {
            self.isolation =
                [UInt8(truncatingIfNeeded: credentials.user.count)] + credentials.user + credentials.password
        }
    }
}

/// Why a proxy's client cannot have what it wants.
enum ProxyFailure {
    /// The exit was not asked.
    case notAsked(EntryError)
    /// The exit, a relay or the service said no, or nothing.
    case ended(StreamEnd)

    /// The place where it failed.
    var hop: StreamEnd.Hop {
        switch self {
        case .notAsked(let error): error.hop
        case .ended(let end): end.hop
        }
    }

    var reply: SOCKS5Reply {
        switch self {
        case .notAsked(let error): error.reply
        case .ended(let end): SOCKS5Reply(end)
        }
    }

    /// Whether the exit is to blame, or the way to it.
    var isTheExits: Bool {
        switch self {
        // It goes in good order, and others are there.
        case .ended(.shuttingDown): true
        // Its rules are its right.
        case .ended(.notAllowed): false
        case .notAsked, .ended: self.hop == .relay || self.hop == .exit
        }
    }

    /// Whether another exit may do better. Addresses that one refuses the others refuse too.
    func deservesAnotherExit(_ target: TargetAddress) -> Bool {
        guard case .ended(.notAllowed) = self else { return self.isTheExits }
        if case .domain = target.host { return true }
        return false
    }

    var text: String {
        switch self {
        case .notAsked(let error): "\(error)"
        case .ended(let end): "\(end)"
        }
    }
}
