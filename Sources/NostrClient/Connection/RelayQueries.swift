//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr

/// Queries for stored events that a relay has not answered yet. All methods must be called on its event loop.
final class RelayQueries {
    /// Called with the received events, and whether they are complete: the relay sent EOSE, and none was dropped.
    typealias Completion = (_ events: [ReceivedEvent], _ isComplete: Bool) -> Void

    private struct Query {
        let completion: Completion
        let timer: Scheduled<Void>
        var events: [ReceivedEvent] = []
        /// Whether events were dropped because there were too many.
        var isTruncated = false
    }

    /// Maximum number of events stored per query.
    private static let maximumEvents = 100

    private let loop: any EventLoop
    private var queries: [SubscriptionID: Query] = [:]
    private var lastNumber = 0

    init(loop: any EventLoop) {
        self.loop = loop
    }

    /// Adds a query. Returns the subscription ID for its REQ message; nil if no ID can be made, which does not happen.
    ///
    /// - Parameters:
    ///   - timeout: After this time, `completion` is called with the events received so far.
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

    /// Stores an event. Returns false if it belongs to no query.
    func receive(_ event: ReceivedEvent, for id: SubscriptionID) -> Bool {
        guard let count = self.queries[id]?.events.count else { return false }
        if count < Self.maximumEvents {
            self.queries[id]?.events.append(event)
        } else {
            self.queries[id]?.isTruncated = true
        }
        return true
    }

    /// Ends a query. Returns false if there is none with this ID.
    @discardableResult
    func finish(_ id: SubscriptionID, isComplete: Bool) -> Bool {
        guard let query = self.queries.removeValue(forKey: id) else { return false }
        query.timer.cancel()
        query.completion(query.events, isComplete && !query.isTruncated)
        return true
    }

    /// Ends all queries, because the connection ended.
    func failAll() {
        for id in Array(self.queries.keys) { self.finish(id, isComplete: false) }
    }
}
