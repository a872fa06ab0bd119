//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto
import TunnelProtocol

/// The reason why an entry could not open a stream through an exit.
enum EntryError: Error {
    /// The name is malformed.
    case invalidName(NostrName.DecodingError)
    /// The name is neither the full name of an exit nor a known alias.
    case unknownAlias(Alias)
    /// The target is on the internet, and no exit is configured for such targets.
    case clearnet
    /// The name contains no relays, and the entry has none configured.
    case noRelays
    /// No public exit is known.
    case noPublicExit
    /// No relay of the name was reachable in time. Contains the reason for each relay.
    case relaysUnreachable([String])
    /// The exit did not accept the offer of a session, or could not be reached.
    case offerFailed(StreamEnd, exit: PublicKey, isPinned: Bool)
    /// The limit on exits in use is reached.
    case tooManyExits
    /// The exit's limit on streams of this entry is reached.
    case tooManyStreams
    case shuttingDown

    /// The part of the route that failed.
    var hop: StreamEnd.Hop {
        switch self {
        case .invalidName, .unknownAlias: .name
        case .clearnet, .noPublicExit, .tooManyExits, .shuttingDown: .entry
        case .noRelays, .relaysUnreachable: .relay
        case .tooManyStreams: .exit
        case .offerFailed(let end, _, _): end.hop
        }
    }

    /// The closest SOCKS reply.
    var reply: SOCKS5Reply {
        switch self {
        case .invalidName, .unknownAlias, .noRelays, .relaysUnreachable: .hostUnreachable
        case .offerFailed(let end, _, _): SOCKS5Reply(end)
        case .clearnet: .notAllowed
        case .noPublicExit: .networkUnreachable
        case .tooManyExits, .tooManyStreams, .shuttingDown: .generalFailure
        }
    }
}

extension EntryError {
    /// The remedy for the entry's operator. Nil if there is none.
    var remedy: Remedy? {
        switch self {
        case .clearnet: .exit
        case .noRelays: .relays
        case .offerFailed(.sessionRequired, let exit, isPinned: true): .removePin(exit)
        default: nil
        }
    }
}

extension EntryError: CustomStringConvertible {
    var description: String {
        switch self {
        case .invalidName(let error): "invalid name: \(error)"
        case .unknownAlias(let alias): "\(alias.domain): no alias has this name, and it is not the full name of an exit"
        case .clearnet:
            "not a .nostr name, npub or nprofile; this entry has no exit for targets on the internet"
        case .noPublicExit: "no public exit is known; none has announced itself on the configured relays"
        case .noRelays: "the name contains no relays, and this entry has no relays configured"
        case .relaysUnreachable(let reasons): "no relay of the name is reachable: \(reasons.joined(separator: "; "))"
        case .offerFailed(.sessionRequired, _, isPinned: true):
            "no answer from the exit: it is offline, or this device is not authorized, or a relay drops its answers. It has "
                + "used sessions before, so it is never downgraded to plain NIP-74"
        case .offerFailed(let end, _, _): "\(end)"
        case .tooManyExits: "too many exits are in use"
        case .tooManyStreams: "\(StreamEnd.tooManyStreams)"
        case .shuttingDown: "the entry is shutting down"
        }
    }
}
