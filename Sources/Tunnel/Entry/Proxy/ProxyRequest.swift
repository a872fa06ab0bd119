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

    init(_ target: TargetAddress, credentials: SOCKS5HandshakeStateMachine.Credentials?) {
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
    var hop: String {
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

    /// Whether another exit may do better.
    var isTheExits: Bool {
        switch self.hop {
        case "relay", "exit": true
        default: false
        }
    }

    var text: String {
        switch self {
        case .notAsked(let error): "\(error)"
        case .ended(let end): "\(end)"
        }
    }
}
