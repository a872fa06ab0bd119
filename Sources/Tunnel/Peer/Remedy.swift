//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
package import NostrCrypto

/// An action that the operator of a node can take to solve a problem.
///
/// By default, its description refers to the configuration. A program with command-line options sets
/// ``EntryConfiguration/remedyText`` and ``ExitConfiguration/remedyText``, so that log messages and pages refer to
/// those options.
package enum Remedy: Hashable, Sendable {
    /// Configure an exit for targets on the internet (entry).
    case exit
    /// Configure relays for names that contain none (entry).
    case relays
    /// Configure an identity (entry).
    case identity
    /// Ask the exit's owner for a new invite (entry).
    case invite
    /// Configure a key that authenticates the node to its relays (NIP-42).
    case relayAuthenticationKey
    /// Remove the pin of an exit that was replaced by a program without sessions (entry).
    case removePin(PublicKey)

    /// A description that refers to the configuration.
    package var description: String {
        switch self {
        case .exit: "configure an exit for targets on the internet"
        case .relays: "configure relays that the exit uses"
        case .identity: "configure an identity, and ask the exit's owner to authorize its npub"
        case .invite: "ask the exit's owner for a new invite"
        case .relayAuthenticationKey: "configure a relay authentication key that the relay accepts"
        case .removePin(let exit):
            "if the exit was replaced by a program without sessions, remove the pin of \(exit.npub)"
        }
    }
}
