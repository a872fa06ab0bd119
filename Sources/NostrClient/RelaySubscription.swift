//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto

/// What a connection subscribes to: tunnel messages for a changing set of keys.
///
/// Pure. New keys get a REQ of their own, which takes the place of those that are not much larger, so that a set of
/// thousands that changes all the time is neither sent again with each change nor spread over many subscriptions. The old
/// ones are closed only when the new one is in force, so that nothing falls between. Changes that come while a REQ is
/// under way wait and go out together.
struct RelaySubscription: Sendable {
    /// What to send.
    enum Action: Hashable {
        case request(SubscriptionID, [Filter])
        case close(SubscriptionID)
        /// These keys are heard from now on.
        case ready(Set<PublicKey>)
        /// Ask again after a pause: the relay closed the subscription.
        case retryLater
        /// Answer the challenge; ``mayAskAgain()`` follows.
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

    private struct Part {
        let id: SubscriptionID
        let recipients: Set<PublicKey>
        var acceptance = Acceptance.unknown
    }

    /// Most REQs in force at once, beside the one that is under way. Some relays take ten of a connection.
    static let maximumParts = 4
    /// The same for a relay that says how many it takes.
    private var partLimit = Self.maximumParts
    /// Keys that nobody wants any more are still asked for until there are so many more of them than of the others.
    private static let tolerableExcess = 8

    private let recipientsPerFilter: Int
    /// Who is to be heard.
    private(set) var wanted: Set<PublicKey> = []
    /// Those of them that no REQ asked for.
    private var missing: Set<PublicKey> = []
    /// Those of them for which missed messages matter.
    private var catchingUp: Set<PublicKey> = []
    /// In force, the newest last. No key is in two.
    private var parts: [Part] = []
    /// Sent and not yet in force.
    private var next: Part?
    /// What ends when that is in force.
    private var replaced: [SubscriptionID] = []
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
        return self.next?.acceptance ?? self.parts.last?.acceptance ?? .unknown
    }

    /// Whether `key` is heard.
    func isReady(_ key: PublicKey) -> Bool { self.parts.contains { $0.recipients.contains(key) } }

    /// Whether the relay was asked for `key`, so that what is sent after this finds it subscribed.
    func hasAsked(for key: PublicKey) -> Bool {
        self.isReady(key) || self.next?.recipients.contains(key) == true
    }

    /// Names the REQ that waits for its answer.
    var awaited: SubscriptionID? {
        self.next?.id ?? self.parts.last { $0.acceptance == .assumed }?.id
    }

    /// Whether this REQ is under way.
    func isUnderWay(_ id: SubscriptionID) -> Bool { self.next?.id == id }

    /// Whether ``advance()`` has a REQ to send.
    var mustAsk: Bool {
        guard self.isOpen, !self.isWaiting, self.next == nil, !self.wanted.isEmpty else { return false }
        return !self.missing.isEmpty || self.excess > self.wanted.count + Self.tolerableExcess
    }

    /// Keys in force that nobody wants.
    private var excess: Int {
        self.parts.reduce(0) { $0 + $1.recipients.count } - (self.wanted.count - self.missing.count)
    }

    // MARK: Inputs

    /// - Parameter catchesUp: Whether what was missed while the connection was down is asked for.
    mutating func add(_ key: PublicKey, catchesUp: Bool = true) {
        if self.wanted.insert(key).inserted, !self.hasAsked(for: key) { self.missing.insert(key) }
        if catchesUp { self.catchingUp.insert(key) }
    }

    mutating func remove(_ key: PublicKey) {
        self.wanted.remove(key)
        self.missing.remove(key)
        self.catchingUp.remove(key)
    }

    /// - Parameters:
    ///   - since: Seconds since 1970 from which on events were missed; nil if none were.
    ///   - subscriptions: How many the relay says that it takes. One is left for questions, and one for the REQ under way.
    mutating func connectionOpened(since: Int64?, subscriptions: Int? = nil) {
        self.connectionClosed()
        self.partLimit = max(1, min(Self.maximumParts, (subscriptions ?? .max) &- 2))
        self.isOpen = true
        self.isWaiting = false
        self.since = since
    }

    mutating func connectionClosed() {
        self.isOpen = false
        self.missing = self.wanted
        self.parts = []
        self.next = nil
        self.replaced = []
    }

    /// The pause after a refusal is over, or the relay knows us now: what it refused is asked again.
    mutating func mayAskAgain() { self.isWaiting = false }

    /// What has to be sent now.
    mutating func advance() -> [Action] {
        if self.isOpen, self.wanted.isEmpty, self.next == nil {
            let parts = self.parts
            self.parts = []
            return parts.map { .close($0.id) }
        }
        guard self.mustAsk else { return [] }
        self.counter += 1
        guard let id = SubscriptionID(ByteString("nws\(self.counter)")) else { return [] }
        let (recipients, replaced) = self.nextRecipients()
        self.next = Part(id: id, recipients: recipients)
        self.replaced = replaced
        self.missing = []
        return [.request(id, self.filters(for: recipients))]
    }

    /// Whom the next REQ asks for, and which it replaces: the newest ones for as long as they are not much larger, or too
    /// many.
    private func nextRecipients() -> (Set<PublicKey>, replaced: [SubscriptionID]) {
        guard self.excess <= self.wanted.count + Self.tolerableExcess else {
            return (self.wanted, self.parts.map(\.id))
        }
        var recipients = self.missing
        var replaced: [SubscriptionID] = []
        for part in self.parts.reversed() {
            let isCrowded = self.parts.count - replaced.count >= self.partLimit
            guard isCrowded || part.recipients.count <= 2 * recipients.count else { break }
            recipients.formUnion(part.recipients.intersection(self.wanted))
            replaced.append(part.id)
        }
        return (recipients, replaced)
    }

    /// EOSE or an event came for a REQ, or it was silent for long enough. ``advance()`` follows.
    mutating func heard(_ id: SubscriptionID, _ acceptance: Acceptance) -> [Action] {
        if var next, next.id == id {
            if case .refused(let reason) = acceptance {
                self.next = nil
                return self.refused(next, reason)
            }
            next.acceptance = acceptance
            let replaced = self.replaced
            // Keys that went and came back meanwhile are in the old ones alone.
            for part in self.parts where replaced.contains(part.id) {
                self.missing.formUnion(part.recipients.intersection(self.wanted).subtracting(next.recipients))
            }
            self.parts.removeAll { replaced.contains($0.id) }
            self.parts.append(next)
            self.next = nil
            self.replaced = []
            self.since = nil
            return [.ready(next.recipients)] + replaced.map { .close($0) }
        }
        // Newest first: most of what comes is for those, and was said before.
        guard let index = self.parts.lastIndex(where: { $0.id == id }), self.parts[index].acceptance != acceptance
        else {
            return []
        }
        if case .refused(let reason) = acceptance {
            guard self.parts[index].acceptance == .assumed else { return [.reconnect] }
            // A late no.
            return self.refused(self.parts.remove(at: index), reason)
        }
        if acceptance == .accepted { self.parts[index].acceptance = .accepted }
        return []
    }

    private mutating func refused(_ part: Part, _ reason: ReasonText) -> [Action] {
        if self.next == nil { self.replaced = [] }
        self.missing.formUnion(part.recipients.intersection(self.wanted).filter { !self.hasAsked(for: $0) })
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
