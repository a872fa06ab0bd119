//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import TunnelProtocol

/// Why a client of the entry does not get its stream.
enum ProxyFailure {
    /// The exit was not asked.
    case notAsked(EntryError)
    /// The exit, a relay or the service refused, or did not answer.
    case ended(StreamEnd)

    /// Where it failed.
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

    /// Whether the exit, or a relay on the path to it, is the cause.
    var isTheExits: Bool {
        switch self {
        // The exit is shutting down; another exit may succeed.
        case .ended(.shuttingDown): true
        // A policy denial is final.
        case .ended(.notAllowed): false
        case .notAsked, .ended: self.hop == .relay || self.hop == .exit
        }
    }

    /// Whether another exit may succeed. An address that one exit refuses is refused by all; a name may not be.
    func isWorthAnotherExit(for target: TargetAddress) -> Bool {
        guard case .ended(.notAllowed) = self else { return self.isTheExits }
        if case .domain = target.host { return true }
        return false
    }

    /// What the entry's operator can do; nil if nothing can be done at the entry.
    var remedy: Remedy? {
        switch self {
        case .notAsked(let error): error.remedy
        case .ended(.notAllowed): .identity
        case .ended: nil
        }
    }

    var text: String {
        switch self {
        case .notAsked(let error): "\(error)"
        case .ended(let end): "\(end)"
        }
    }
}
