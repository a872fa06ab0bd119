//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import HTTPTransport
import Logging
public import NIOCore
public import Nostr
import NostrCrypto

/// How far answering a relay's AUTH challenge has come (NIP-42).
enum RelayAuthentication {
    case none
    /// The AUTH event with this id was sent.
    case pending(EventID)
    case done
    /// The relay does not let this key in.
    case refused
}

extension RelayConnection {
    // MARK: Publishing

    /// Sends an event; `completion` gets the answer, once.
    ///
    /// - Parameter message: The encoded EVENT message of the event with this id.
    public func publish(_ id: EventID, _ message: ByteBuffer, completion: @escaping (PublishResult) -> Void) {
        guard self.isOpen else {
            completion(.unreachable)
            return
        }
        if let limit = self.information.limitation.maximumMessageLength, message.readableBytes > limit {
            completion(.rejected(ReasonText(.invalid, "longer than the relay's \(limit) bytes")))
            return
        }
        guard self.pending[id] == nil, self.pending.count < self.configuration.maximumPendingPublishes else {
            completion(.rejected(ReasonText(.rateLimited, "too many unanswered events")))
            return
        }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let timeout = self.loop.scheduleTask(in: self.configuration.publishTimeout) {
            bound.value.publishTimedOut(id)
        }
        self.pending[id] = PendingPublish(
            completion: completion,
            timeout: timeout
        )
        self.metrics.published.increment()
        self.send(message)
    }

    private func publishTimedOut(_ id: EventID) {
        guard let publish = self.pending.removeValue(forKey: id) else { return }
        self.metrics.unanswered.increment()
        publish.completion(.unanswered)
    }

    func receiveOK(_ id: EventID, _ accepted: Bool, _ reason: ReasonText) {
        if case .pending(id) = self.authentication {
            self.authenticationAnswered(accepted, reason)
            return
        }
        guard let publish = self.pending.removeValue(forKey: id) else { return }
        publish.timeout.cancel()
        // Whoever published sends again, in its order, once the relay knows us; see `isWorthRetrying`.
        var reason = reason
        if !accepted, reason.prefix == .authRequired, !self.authenticate() {
            // It knows us, or does not want to: asking again changes nothing.
            reason = ReasonText(.restricted, reason.text)
        }
        // A relay that has the event has it; one that had nobody to give it to says so, some with a yes.
        if reason.prefix != .mute, accepted || reason.prefix == .duplicate {
            publish.completion(.accepted)
        } else {
            self.metrics.rejected.increment()
            self.logger.debug("relay rejected an event", metadata: ["reason": "\(reason)"])
            publish.completion(.rejected(reason))
        }
    }

    // MARK: AUTH

    /// Answers the challenge, unless it was. False if there is nothing to answer or the relay does not let us in.
    @discardableResult
    func authenticate() -> Bool {
        guard self.isOpen else { return false }
        switch self.authentication {
        case .pending: return true
        // A relay that knows us and asks again does not want this key.
        case .refused, .done: return false
        case .none: break
        }
        guard let challenge = self.challenge,
            let event = try? Event.signed(
                by: self.authenticationKey,
                createdAt: Self.now(),
                kind: .authentication,
                tags: [Tag("relay", ByteString(self.url.text)), Tag("challenge", ByteString(challenge))],
                content: ByteBuffer()
            )
        else { return false }
        self.authentication = .pending(event.id)
        self.send(ClientMessage.authentication(event).encoded())
        return true
    }

    private func authenticationAnswered(_ accepted: Bool, _ reason: ReasonText) {
        guard accepted else {
            self.authentication = .refused
            self.logger.warning("relay refused to authenticate us", metadata: ["reason": "\(reason)"])
            return
        }
        self.authentication = .done
        self.subscription.mayAskAgain()
        self.advanceSubscription()
    }
}
