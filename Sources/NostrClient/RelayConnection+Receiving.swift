//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import HTTPTransport
import Logging
import NIOCore
import Nostr

extension RelayConnection {
    /// Takes a message of the relay, if it is from the present connection.
    func receive(_ text: ByteBuffer, epoch: Int) {
        guard epoch == self.epoch else { return }
        self.carriedBytes += Int64(text.readableBytes)
        let message: RelayMessage
        do {
            message = try RelayMessage.parse(text)
        } catch {
            // Types that we do not know are the relay's right.
            if case .unknownType = error { return }
            self.metrics.malformed.increment()
            self.malformedMessages += 1
            self.logger.debug("relay sent a malformed message", metadata: ["error": "\(error)"])
            if self.malformedMessages > self.configuration.maximumMalformedMessages,
                case .open(let socket, _) = self.state
            {
                socket.closeForPolicyViolation()
            }
            return
        }
        switch message {
        case .event(let id, let received):
            self.metrics.received.increment()
            if let query = self.queries[id] {
                query.add(received)
                return
            }
            self.subscriptionEvent(.event(id))
            self.callbacks.onEvent(received)
        case .ok(let id, let accepted, let reason):
            self.receiveOK(id, accepted, reason)
        case .endOfStoredEvents(let id):
            if let query = self.queries.removeValue(forKey: id) {
                self.send(ClientMessage.close(id).encoded())
                query.finish(isComplete: true)
                return
            }
            self.subscriptionEvent(.endOfStoredEvents(id))
        case .closed(let id, let reason):
            if let query = self.queries.removeValue(forKey: id) {
                query.finish(isComplete: false)
                return
            }
            self.logger.debug("relay closed a subscription", metadata: ["reason": "\(reason)"])
            self.subscriptionEvent(.closed(id, reason))
        case .notice(let text):
            self.metrics.notices.increment()
            self.logger.debug("relay sent a notice", metadata: ["text": "\(text)"])
            self.subscriptionEvent(.notice(ReasonText(text)))
        case .challenge(let challenge):
            if challenge == self.challenge { return }
            self.challenge = challenge
            self.authentication = .none
            if self.mustAuthenticate { self.authenticate() }
        }
    }
}
