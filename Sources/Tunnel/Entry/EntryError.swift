//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto
import TunnelProtocol

/// Why an entry did not even ask an exit.
enum EntryError: Error {
    /// The name is malformed.
    case invalidName(NostrName.DecodingError)
    /// An address or a name that is not of Nostr.
    case clearnet
    /// The name carries no relays, and none are configured.
    case noRelays
    /// No exit is known that goes to the internet.
    case noPublicExit
    /// No relay of the name could be reached in time, and what each said.
    case relaysUnreachable([String])
    /// The exit did not take the offer of a session, or was not reached with it.
    case offerFailed(StreamEnd, exit: PublicKey, isPinned: Bool)
    /// Too many exits at once.
    case tooManyExits
    /// As many streams as the exit lets this entry have.
    case tooManyStreams
    case shuttingDown

    /// The place where it failed.
    var hop: StreamEnd.Hop {
        switch self {
        case .invalidName: .name
        case .clearnet, .noPublicExit, .tooManyExits, .shuttingDown: .entry
        case .noRelays, .relaysUnreachable: .relay
        case .tooManyStreams: .exit
        case .offerFailed(let end, _, _): end.hop
        }
    }

    /// The SOCKS reply that says it best.
    var reply: SOCKS5Reply {
        switch self {
        case .invalidName, .noRelays, .relaysUnreachable: .hostUnreachable
        case .offerFailed(let end, _, _): SOCKS5Reply(end)
        case .clearnet: .notAllowed
        case .noPublicExit: .networkUnreachable
        case .tooManyExits, .tooManyStreams, .shuttingDown: .generalFailure
        }
    }
}

extension EntryError: CustomStringConvertible {
    var description: String {
        switch self {
        case .invalidName(let error): "invalid name: \(error)"
        case .clearnet:
            "not a .nostr name, npub or nprofile; for other places this entry needs an exit (--exit NAME, or --public-exits)"
        case .noPublicExit: "no public exit is known that has not failed; none may have announced itself yet"
        case .noRelays: "the name carries no relays, and this entry has none configured (--relay)"
        case .relaysUnreachable(let reasons): "no relay of the name can be reached: \(reasons.joined(separator: "; "))"
        case .offerFailed(.sessionRequired, let exit, isPinned: true):
            "the exit does not answer: it may be down, or a relay may be hiding its answers. It spoke sessions before, so "
                + "nothing less is spoken with it; only if you know that it was replaced by one that cannot, run: nws pins remove \(exit.npub)"
        case .offerFailed(let end, _, _): "\(end)"
        case .tooManyExits: "too many exits at once"
        case .tooManyStreams: "\(StreamEnd.tooManyStreams)"
        case .shuttingDown: "shutting down"
        }
    }
}
