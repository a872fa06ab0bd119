//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr

/// Questions for stored events that a relay has not answered yet. Lives on its event loop.
final class RelayQueries {
    /// Called with the events that came, and whether the relay said that these are all (EOSE).
    typealias Completion = (_ events: [ReceivedEvent], _ isComplete: Bool) -> Void

    private struct Query {
        let completion: Completion
        let timer: Scheduled<Void>
        var events: [ReceivedEvent] = []
    }

    /// Most events kept of one answer.
    private static let maximumEvents = 100

    private let loop: any EventLoop
    private var queries: [SubscriptionID: Query] = [:]
    private var lastNumber = 0

    init(loop: any EventLoop) {
        self.loop = loop
    }

    /// Enters a question. Returns the id for its REQ.
    ///
    /// - Parameters:
    ///   - timeout: After this, `completion` gets what came so far.
    ///   - onTimeout: Called with the id when that happens, so that the subscription can be closed.
    func add(
        timeout: TimeAmount,
        onTimeout: @escaping (SubscriptionID) -> Void,
        completion: @escaping Completion
    ) -> SubscriptionID? {
        self.lastNumber += 1
        guard let id = SubscriptionID(ByteString("query\(self.lastNumber)")) else { return nil }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let boundTimeout = NIOLoopBound(onTimeout, eventLoop: self.loop)
        let timer = self.loop.scheduleTask(in: timeout) {
            guard bound.value.queries[id] != nil else { return }
            boundTimeout.value(id)
            bound.value.finish(id, isComplete: false)
        }
        self.queries[id] = Query(completion: completion, timer: timer)
        return id
    }

    /// Takes an event. False if it belongs to no question.
    func receive(_ event: ReceivedEvent, for id: SubscriptionID) -> Bool {
        guard let count = self.queries[id]?.events.count else { return false }
        if count < Self.maximumEvents { self.queries[id]?.events.append(event) }
        return true
    }

    /// Ends a question. False if there is none with this id.
    @discardableResult
    func finish(_ id: SubscriptionID, isComplete: Bool) -> Bool {
        guard let query = self.queries.removeValue(forKey: id) else { return false }
        query.timer.cancel()
        query.completion(query.events, isComplete)
        return true
    }

    /// The connection ended.
    func failAll() {
        for id in Array(self.queries.keys) { self.finish(id, isComplete: false) }
    }
}
