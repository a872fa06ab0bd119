//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import NIOCore
package import Nostr

/// The answer to a published event.
package enum PublishResult: Hashable, Sendable {
    case accepted
    case rejected(ReasonText)
    /// There is no connection to the relay.
    case unreachable
    /// The connection ended before the relay answered.
    case lost
    /// The relay did not answer in time. Some relays never send OK.
    case unanswered
}

/// Events that were sent to a relay and are not answered yet. Lives on its event loop.
final class PendingPublications {
    private struct Publication {
        let completion: (PublishResult) -> Void
        let timeout: Scheduled<Void>
    }

    private let limit: Int
    private let timeout: TimeAmount
    private let loop: any EventLoop
    private let metrics: RelayClientMetrics
    private var publications: [EventID: Publication] = [:]

    /// - Parameters:
    ///   - limit: Most events that wait for an answer.
    ///   - timeout: How long the relay may take to answer.
    init(limit: Int, timeout: TimeAmount, loop: any EventLoop, metrics: RelayClientMetrics) {
        self.limit = limit
        self.timeout = timeout
        self.loop = loop
        self.metrics = metrics
    }

    /// Waits for the answer to an event. False if the event is already waiting, or too many are; then `completion` is not
    /// called.
    func add(_ id: EventID, completion: @escaping (PublishResult) -> Void) -> Bool {
        guard self.publications[id] == nil, self.publications.count < self.limit else { return false }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let timeout = self.loop.scheduleTask(in: self.timeout) {
            guard let publication = bound.value.publications.removeValue(forKey: id) else { return }
            bound.value.metrics.unanswered.increment()
            publication.completion(.unanswered)
        }
        self.publications[id] = Publication(completion: completion, timeout: timeout)
        return true
    }

    func contains(_ id: EventID) -> Bool { self.publications[id] != nil }

    /// The relay answered an event with OK. Returns what the publisher learns.
    func receiveOK(_ id: EventID, _ isAccepted: Bool, _ reason: ReasonText) -> PublishResult {
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

    /// The connection ended.
    func failAll() {
        let publications = self.publications
        self.publications = [:]
        for publication in publications.values {
            publication.timeout.cancel()
            publication.completion(.lost)
        }
    }
}
