//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto

/// Decides when to answer a relay's AUTH challenge (NIP-42). Each challenge is answered once.
///
/// It performs no I/O: the caller signs and sends the AUTH events.
struct RelayAuthentication {
    private enum State {
        /// No challenge was answered.
        case idle
        /// The AUTH event with this id was sent.
        case pending(EventID)
        case authenticated
        /// The relay rejected this key.
        case rejected
    }

    /// What to do when the relay requires authentication.
    enum Step: Equatable {
        /// Sign this challenge and call ``sent(_:)``.
        case answer(challenge: String)
        /// An answer was sent and is not decided yet.
        case wait
        /// There is no challenge, or the relay has already decided about this key.
        case unavailable
    }

    /// What an OK message means to authentication.
    enum Verdict: Equatable {
        /// The OK belongs to another event.
        case unrelated
        case authenticated
        case rejected
    }

    private var challenge: String?
    private var state = State.idle

    /// The relay sent AUTH. False if the challenge is the one that is already known.
    mutating func receive(challenge: String) -> Bool {
        guard challenge != self.challenge else { return false }
        self.challenge = challenge
        self.state = .idle
        return true
    }

    var nextStep: Step {
        switch self.state {
        case .pending: .wait
        // The relay has decided about this key. Another attempt with the same challenge changes nothing.
        case .authenticated, .rejected: .unavailable
        case .idle: self.challenge.map { .answer(challenge: $0) } ?? .unavailable
        }
    }

    /// What ``answer(to:by:at:)`` returns.
    enum Answer {
        /// Send this message.
        case send(ByteBuffer)
        case wait
        case unavailable
    }

    /// Signs the answer to the challenge, unless it was answered.
    ///
    /// - Parameters:
    ///   - url: The relay, as the event names it.
    ///   - now: Seconds since 1970.
    mutating func answer(to url: RelayURL, by key: SecretKey, at now: Int64) -> Answer {
        switch self.nextStep {
        case .wait: return .wait
        case .unavailable: return .unavailable
        case .answer(let challenge):
            guard
                let event = try? Event.signed(
                    by: key,
                    createdAt: now,
                    kind: .authentication,
                    tags: [Tag("relay", ByteString(url.text)), Tag("challenge", ByteString(challenge))],
                    content: ByteBuffer()
                )
            else { return .unavailable }
            self.sent(event.id)
            return .send(ClientMessage.authentication(event).encoded())
        }
    }

    /// The AUTH event was sent.
    mutating func sent(_ id: EventID) { self.state = .pending(id) }

    /// The relay answered an event with OK.
    mutating func receiveOK(_ id: EventID, isAccepted: Bool) -> Verdict {
        guard case .pending(id) = self.state else { return .unrelated }
        self.state = isAccepted ? .authenticated : .rejected
        return isAccepted ? .authenticated : .rejected
    }

    /// Resets the state, because each connection has its own challenge.
    mutating func connectionClosed() { self = RelayAuthentication() }
}
