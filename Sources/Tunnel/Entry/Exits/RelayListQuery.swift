//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrClient
import NostrCrypto

/// Asks relays for the relay list of an exit (NIP-65), for names that carry no relays.
final class RelayListQuery {
    private let exit: PublicKey
    private let connectTimeout: TimeAmount
    private let answerTimeout: TimeAmount
    private let onAnswer: ([RelayURL]) -> Void
    private var pending = 0

    /// Whether an answer may still come.
    var isPending: Bool { self.pending > 0 }

    /// - Parameters:
    ///   - connectTimeout: For a relay to connect.
    ///   - answerTimeout: For a relay to answer.
    ///   - onAnswer: Called for each relay that was asked, with the relays where the exit reads; empty if the relay has no
    ///     list.
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
        // A relay whose last attempt failed would only delay the answer.
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
