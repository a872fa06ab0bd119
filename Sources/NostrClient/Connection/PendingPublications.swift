//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
package import NIOCore
package import Nostr

/// The result of publishing an event.
package enum PublishResult: Hashable, Sendable {
    /// The relay accepted the event, or has it already.
    case accepted
    /// The relay or this client rejected the event, or no client is subscribed to it (`mute:`).
    case rejected(ReasonText)
    /// The event was not sent, because the relay limits the rate of events. It may be sent after this time.
    case held(TimeAmount)
    /// There is no connection to the relay.
    case unreachable
    /// The connection ended before the relay answered.
    case lost
    /// The relay did not answer in time. Some relays never send OK.
    case unanswered
}

/// Published events that the relay has not answered with OK yet. All methods must be called on its event loop.
final class PendingPublications {
    private struct Publication {
        let completion: (PublishResult) -> Void
        let timeout: Scheduled<Void>
        let sentAt: NIODeadline
    }

    private let limit: Int
    private let timeout: TimeAmount
    private let loop: any EventLoop
    private let metrics: RelayClientMetrics
    private var publications: [EventID: Publication] = [:]
    /// Whether the relay answers events. Some relays never send OK.
    private(set) var isAnswered = false

    /// - Parameters:
    ///   - limit: Maximum number of events that wait for an answer.
    ///   - timeout: How long the relay may take to answer.
    init(limit: Int, timeout: TimeAmount, loop: any EventLoop, metrics: RelayClientMetrics) {
        self.limit = limit
        self.timeout = timeout
        self.loop = loop
        self.metrics = metrics
    }

    /// Registers an event that waits for its OK message. Returns false if the event is already registered or the limit
    /// is reached. `completion` is then not called.
    func add(_ id: EventID, completion: @escaping (PublishResult) -> Void) -> Bool {
        guard self.publications[id] == nil, self.publications.count < self.limit else { return false }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let timeout = self.loop.scheduleTask(in: self.timeout) {
            guard let publication = bound.value.publications.removeValue(forKey: id) else { return }
            bound.value.metrics.unanswered.increment()
            publication.completion(.unanswered)
        }
        self.publications[id] = Publication(completion: completion, timeout: timeout, sentAt: .now())
        return true
    }

    /// Whether any event has not been answered.
    var isWaiting: Bool { !self.publications.isEmpty }

    /// When the event was sent; nil if it is not registered.
    func sendTime(of id: EventID) -> NIODeadline? { self.publications[id]?.sentAt }

    /// Handles an OK message. Returns the result, which is also passed to the completion of the event, if it is
    /// registered.
    func receiveOK(_ id: EventID, _ isAccepted: Bool, _ reason: ReasonText) -> PublishResult {
        self.isAnswered = true
        // A duplicate is already stored. `mute:` means that no client is subscribed; some relays send it with OK true.
        let isStored = reason.prefix != .mute && (isAccepted || reason.prefix == .duplicate)
        let result: PublishResult = isStored ? .accepted : .rejected(reason)
        if !isStored { self.metrics.rejected.increment() }
        if let publication = self.publications.removeValue(forKey: id) {
            publication.timeout.cancel()
            publication.completion(result)
        }
        return result
    }

    /// Completes all events as ``PublishResult/lost``, because the connection ended.
    func failAll() {
        let publications = self.publications
        self.publications = [:]
        for publication in publications.values {
            publication.timeout.cancel()
            publication.completion(.lost)
        }
    }
}
