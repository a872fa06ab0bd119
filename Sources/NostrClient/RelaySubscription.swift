//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto

/// The one subscription that a connection keeps: tunnel messages for a changing set of keys.
///
/// Pure. When the set changes, a new REQ is sent and the old one closed only when the new one is in force, so that
/// nothing falls between. Changes that come while one is under way wait and go out together.
struct RelaySubscription: Sendable {
    /// What to send.
    enum Action: Hashable {
        case request(SubscriptionID, [Filter])
        case close(SubscriptionID)
        /// These keys are heard from now on.
        case ready(Set<PublicKey>)
        /// Ask again after a pause: the relay closed the subscription.
        case retryLater
        /// Answer the challenge; ``authenticated()`` follows.
        case authenticate
        /// A subscription in force was closed: what came meanwhile is lost, so connect anew and catch up.
        case reconnect
    }

    /// How sure it is that the relay took the newest REQ.
    enum Acceptance: Hashable {
        /// Nothing heard.
        case unknown
        /// Nothing heard for long enough to go on.
        case assumed
        /// EOSE or an event came, or silence for so long that it must be.
        case accepted
        /// CLOSED came, or a NOTICE instead of an answer.
        case refused(ReasonText)
    }

    private struct Request: Hashable {
        let id: SubscriptionID
        let recipients: Set<PublicKey>
        var acceptance = Acceptance.unknown
    }

    private let recipientsPerFilter: Int
    /// Who is to be heard.
    private(set) var wanted: Set<PublicKey> = []
    /// Those of them for which missed messages matter.
    private var catchingUp: Set<PublicKey> = []
    /// In force, or nil.
    private var current: Request?
    /// Sent and not yet in force.
    private var next: Request?
    private var isOpen = false
    private var isWaiting = false
    /// Why the relay refused the newest REQ, until it is asked again.
    private var refusal: ReasonText?
    private var since: Int64?
    private var counter = 0

    init(recipientsPerFilter: Int) {
        self.recipientsPerFilter = max(1, recipientsPerFilter)
    }

    /// Whether the newest REQ is accepted.
    var acceptance: Acceptance {
        if self.isWaiting, let refusal { return .refused(refusal) }
        return self.next?.acceptance ?? self.current?.acceptance ?? .unknown
    }

    /// Whether `key` is heard.
    func isReady(_ key: PublicKey) -> Bool {
        guard let current, current.recipients.contains(key) else { return false }
        return true
    }

    /// Names the REQ that waits for its answer.
    var awaited: SubscriptionID? {
        guard let next, next.acceptance == .unknown || next.acceptance == .assumed else { return nil }
        return next.id
    }

    // MARK: Inputs

    /// - Parameter catchesUp: Whether what was missed while the connection was down is asked for.
    mutating func add(_ key: PublicKey, catchesUp: Bool = true) {
        self.wanted.insert(key)
        if catchesUp { self.catchingUp.insert(key) }
    }

    mutating func remove(_ key: PublicKey) {
        self.wanted.remove(key)
        self.catchingUp.remove(key)
    }

    /// - Parameter since: Seconds since 1970 from which on events were missed; nil if none were.
    mutating func connectionOpened(since: Int64?) {
        self.isOpen = true
        self.isWaiting = false
        self.since = since
        self.current = nil
        self.next = nil
    }

    mutating func connectionClosed() {
        self.isOpen = false
        self.current = nil
        self.next = nil
    }

    /// The pause after a refusal is over.
    mutating func pauseOver() { self.isWaiting = false }

    /// The relay knows us now; what it refused is asked again.
    mutating func authenticated() {
        self.isWaiting = false
    }

    /// What has to be sent now.
    mutating func advance() -> [Action] {
        guard self.isOpen, !self.isWaiting, self.next == nil else { return [] }
        if self.wanted.isEmpty {
            guard let current else { return [] }
            self.current = nil
            return [.close(current.id)]
        }
        // Keys that are no longer wanted wait for the next change; a filter too wide harms nobody.
        if let current, current.recipients.isSuperset(of: self.wanted),
            current.recipients.count <= self.wanted.count * 2 + 8
        {
            return []
        }
        self.counter += 1
        guard let id = SubscriptionID(ByteString("nws\(self.counter)")) else { return [] }
        self.next = Request(id: id, recipients: self.wanted)
        return [.request(id, self.filters(for: self.wanted))]
    }

    /// EOSE or an event came for a REQ, or it was silent for long enough.
    mutating func heard(_ id: SubscriptionID, _ acceptance: Acceptance) -> [Action] {
        if var next, next.id == id {
            next.acceptance = acceptance
            if case .refused(let reason) = acceptance { return self.refused(reason) }
            let old = self.current
            self.current = next
            self.next = nil
            self.since = nil
            var actions: [Action] = [.ready(next.recipients)]
            if let old { actions.append(.close(old.id)) }
            return actions + self.advance()
        }
        if self.current?.id == id {
            if case .refused = acceptance { return [.reconnect] }
            if acceptance == .accepted { self.current?.acceptance = .accepted }
        }
        return []
    }

    private mutating func refused(_ reason: ReasonText) -> [Action] {
        self.next = nil
        self.refusal = reason
        self.isWaiting = true
        return reason.prefix == .authRequired ? [.authenticate] : [.retryLater]
    }

    /// Live events only, because relays keep ephemeral ones for a while and would play them back; and after a reconnect
    /// also what was missed. Two filters, because `since` on the live one would drop events of clocks that lag.
    private func filters(for recipients: Set<PublicKey>) -> [Filter] {
        let sorted = recipients.sorted { $0.bytes < $1.bytes }
        return stride(from: 0, to: sorted.count, by: self.recipientsPerFilter).flatMap { start -> [Filter] in
            let keys = sorted[start..<min(start + self.recipientsPerFilter, sorted.count)]
            let live = Filter(kinds: [.tunnelMessage], recipients: keys, limit: 0)
            let missing = keys.filter { self.catchingUp.contains($0) }
            guard let since = self.since, !missing.isEmpty else { return [live] }
            return [live, Filter(kinds: [.tunnelMessage], recipients: missing, since: since)]
        }
    }
}
