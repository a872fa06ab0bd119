//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto

/// Decides when to answer a relay's AUTH challenge (NIP-42). Each challenge is answered once.
///
/// It performs no I/O. The caller sends the AUTH events.
struct RelayAuthentication {
    private enum State {
        /// The current challenge, if there is one, was not answered.
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
        /// An answer was sent, and the relay has not accepted or rejected it yet.
        case wait
        /// There is no challenge, or the relay has already decided about this key.
        case unavailable
    }

    /// The meaning of an OK message for authentication.
    enum Verdict: Equatable {
        /// The OK belongs to another event.
        case unrelated
        case authenticated
        case rejected
    }

    private var challenge: String?
    private var state = State.idle

    /// Records the challenge of an AUTH message. Returns false if it is the current challenge.
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

    /// The result of ``answer(to:by:at:)``.
    enum Answer {
        /// Send this AUTH message.
        case send(ByteBuffer)
        /// See ``Step/wait``.
        case wait
        /// See ``Step/unavailable``.
        case unavailable
    }

    /// Signs an AUTH event for the current challenge, unless the challenge was answered before.
    ///
    /// - Parameters:
    ///   - url: The URL of the relay, for the `relay` tag.
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

    /// Records that the AUTH event with this id was sent.
    mutating func sent(_ id: EventID) { self.state = .pending(id) }

    /// Handles an OK message.
    mutating func receiveOK(_ id: EventID, isAccepted: Bool) -> Verdict {
        guard case .pending(id) = self.state else { return .unrelated }
        self.state = isAccepted ? .authenticated : .rejected
        return isAccepted ? .authenticated : .rejected
    }

    /// Resets the state, because each connection has its own challenge.
    mutating func connectionClosed() { self = RelayAuthentication() }
}
