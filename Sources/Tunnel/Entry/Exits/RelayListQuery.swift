//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrClient
import NostrCrypto

/// Queries relays for the relay list of an exit (NIP-65), for names that contain no relays.
final class RelayListQuery {
    private let exit: PublicKey
    private let connectTimeout: TimeAmount
    private let answerTimeout: TimeAmount
    private let onAnswer: ([RelayURL]) -> Void
    private var pending = 0

    /// Whether an answer is pending.
    var isPending: Bool { self.pending > 0 }

    /// - Parameters:
    ///   - connectTimeout: Timeout for connecting to a relay.
    ///   - answerTimeout: Timeout for the answer of a relay.
    ///   - onAnswer: Called once for each queried relay, with the relays from which the exit reads. Empty if the relay
    ///     has no list or does not answer.
    init(
        of exit: PublicKey,
        connectTimeout: TimeAmount,
        answerTimeout: TimeAmount,
        onAnswer: @escaping ([RelayURL]) -> Void
    ) {
        self.exit = exit
        self.connectTimeout = connectTimeout
        self.answerTimeout = answerTimeout
        self.onAnswer = onAnswer
    }

    func ask(_ relays: [RelayConnection]) {
        // A relay whose last connection attempt failed would only delay the result.
        for relay in relays where !relay.isUnreachable {
            self.pending += 1
            relay.whenOpen(within: self.connectTimeout) { isOpen in
                guard isOpen else { return self.answered([]) }
                let filter = Filter(authors: [self.exit], kinds: [.relayList], limit: 1)
                relay.query(filter, timeout: self.answerTimeout) { events, _ in self.answered(events) }
            }
        }
    }

    private func answered(_ events: [ReceivedEvent]) {
        self.pending -= 1
        let newest = events.map(\.event)
            .filter { $0.kind == .relayList && $0.pubkey == self.exit && (try? $0.verify()) != nil }
            .max { $0.createdAt < $1.createdAt }
        self.onAnswer(newest.map(Self.readRelays) ?? [])
    }

    /// The relays of a list that its author reads from.
    private static func readRelays(_ list: Event) -> [RelayURL] {
        list.tags
            .filter { $0.name == "r" && ($0.fields.count < 3 || $0.fields[2] == "read") }
            .compactMap { $0.value.flatMap { try? RelayURL($0.text) } }
            .removingDuplicates()
    }
}
