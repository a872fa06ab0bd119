//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto

/// Decides which REQ and CLOSE messages keep a client subscribed to tunnel messages for a changing set of keys. It
/// performs no I/O.
///
/// New keys are sent in a new REQ. It replaces older subscriptions that are not much larger, so that thousands of keys
/// are neither sent again with each change nor spread over many subscriptions. A replaced subscription is closed only
/// when the new one is active, so that no event is missed. Changes during a pending REQ are sent together after it.
struct RelaySubscription: Sendable {
    /// What the caller must do.
    enum Action: Hashable {
        case request(SubscriptionID, [Filter])
        case close(SubscriptionID)
        /// Messages for these keys are delivered from now on.
        case ready(Set<PublicKey>)
        /// The relay rejected the subscription: call ``allowRetry()`` after a pause.
        case retryLater
        /// Answer the relay's challenge, then call ``allowRetry()``.
        case authenticate
        /// The relay closed an active subscription, so events may be lost: reconnect and catch up.
        case reconnect
    }

    /// What is known about the relay's answer to a REQ.
    enum Acceptance: Hashable {
        /// No answer yet.
        case unknown
        /// The relay did not answer in time, and the subscription is used without an answer.
        case assumed
        /// The relay sent EOSE or an event, or did not reject the REQ in time.
        case accepted
        /// The relay sent CLOSED, or a NOTICE instead of it.
        case rejected(ReasonText)
    }

    private struct Part {
        let id: SubscriptionID
        let recipients: Set<PublicKey>
        var acceptance = Acceptance.unknown
    }

    /// Number of active subscriptions, not counting the pending one, above which they are merged if the relay's limits
    /// allow it.
    static let preferredParts = 4
    private var limits: SubscriptionLimits
    /// Number of removed keys in active subscriptions, beyond the number of wanted keys, that is tolerated. Above it a
    /// new REQ without the removed keys replaces all subscriptions.
    private static let tolerableExcess = 8

    private let keysPerFilter: Int
    /// The keys to subscribe to.
    private(set) var wanted: Set<PublicKey> = []
    /// The order in which the keys were added. If the relay takes only some of them, the oldest ones stay, which open streams
    /// may use.
    private var order: [PublicKey: Int] = [:]
    private var lastOrder = 0
    /// Wanted keys that no REQ names.
    private var missing: Set<PublicKey> = []
    /// Wanted keys for which missed messages are requested after a reconnect.
    private var catchingUp: Set<PublicKey> = []
    /// Active subscriptions, newest last. No key is in two of them.
    private var parts: [Part] = []
    /// The REQ that was sent and is not active yet.
    private var next: Part?
    /// Subscriptions to close when ``next`` is active.
    private var replaced: [SubscriptionID] = []
    private var isOpen = false
    /// No REQ is sent until ``allowRetry()``.
    private var isWaiting = false
    /// Why the relay last rejected a REQ. Meaningful only while ``isWaiting`` is true.
    private var rejection: ReasonText?
    private var since: Int64?
    private var counter = 0

    init(recipientsPerFilter: Int) {
        self.keysPerFilter = recipientsPerFilter
        self.limits = SubscriptionLimits(RelayInformation.Limitation(), keysPerFilter: recipientsPerFilter)
    }

    /// The relay's answer to the newest REQ.
    var acceptance: Acceptance {
        if self.isWaiting, let rejection { return .rejected(rejection) }
        return self.next?.acceptance ?? self.parts.last?.acceptance ?? .unknown
    }

    /// Whether messages for `key` are delivered.
    func isReady(_ key: PublicKey) -> Bool { self.parts.contains { $0.recipients.contains(key) } }

    /// Whether a REQ that was sent names `key`.
    func isRequested(_ key: PublicKey) -> Bool {
        self.isReady(key) || self.next?.recipients.contains(key) == true
    }

    /// The newest REQ that the relay has not answered.
    var awaited: SubscriptionID? {
        self.next?.id ?? self.parts.last { $0.acceptance == .assumed }?.id
    }

    /// Whether this REQ was sent and is not active yet.
    func isPending(_ id: SubscriptionID) -> Bool { self.next?.id == id }

    /// The keys of the REQ that was sent and is not active yet.
    var pendingRecipients: Set<PublicKey> { self.next?.recipients ?? [] }

    /// Whether ``advance()`` has a REQ to send.
    var hasRequestToSend: Bool {
        guard self.isOpen, !self.isWaiting, self.next == nil, !self.wanted.isEmpty else { return false }
        return self.hasExcess || (!self.missing.isEmpty && !self.isFull)
    }

    /// Whether the relay takes no further keys on this connection. ``missing`` keys then wait until others are removed.
    var isFull: Bool {
        self.parts.count >= self.limits.subscriptions
            && self.parts.allSatisfy { $0.recipients.count >= self.limits.keysPerRequest }
    }

    /// Number of keys that are not subscribed to because the relay takes no more.
    var surplus: Int { self.isFull ? self.missing.count : 0 }

    /// Whether so many keys in active subscriptions are no longer wanted that they are removed.
    private var hasExcess: Bool {
        let wanted = min(self.wanted.count, self.limits.keysPerRequest)
        return self.excess > (self.isFull && !self.missing.isEmpty ? 0 : wanted + Self.tolerableExcess)
    }

    /// Number of keys in active subscriptions that are no longer wanted.
    private var excess: Int {
        self.parts.reduce(0) { $0 + $1.recipients.count } - (self.wanted.count - self.missing.count)
    }

    // MARK: Inputs

    /// - Parameter catchesUp: Whether to request messages that were missed while disconnected.
    mutating func add(_ key: PublicKey, catchesUp: Bool = true) {
        if self.wanted.insert(key).inserted {
            self.lastOrder += 1
            self.order[key] = self.lastOrder
            if !self.isRequested(key) { self.missing.insert(key) }
        }
        if catchesUp { self.catchingUp.insert(key) }
    }

    mutating func remove(_ key: PublicKey) {
        self.wanted.remove(key)
        self.order[key] = nil
        self.missing.remove(key)
        self.catchingUp.remove(key)
    }

    /// - Parameters:
    ///   - since: The time from which events were missed, in seconds since 1970; nil if none were.
    ///   - declared: The limits that the relay declares (NIP-11).
    mutating func connectionOpened(
        since: Int64?,
        limits declared: RelayInformation.Limitation = RelayInformation.Limitation()
    ) {
        self.connectionClosed()
        self.limits = SubscriptionLimits(declared, keysPerFilter: self.keysPerFilter)
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

    /// Lets ``advance()`` request the rejected keys again. Call after the pause, or after the relay has authenticated
    /// this client.
    mutating func allowRetry() { self.isWaiting = false }

    /// Returns the messages to send now.
    mutating func advance() -> [Action] {
        if self.isOpen, self.wanted.isEmpty, self.next == nil {
            let parts = self.parts
            self.parts = []
            return parts.map { .close($0.id) }
        }
        guard self.hasRequestToSend else { return [] }
        let (recipients, replaced) = self.nextRecipients()
        guard let id = self.nextID(replacing: replaced) else { return [] }
        self.next = Part(id: id, recipients: recipients)
        self.replaced = replaced
        self.missing.subtract(recipients)
        return [.request(id, self.filters(for: recipients))]
    }

    /// Returns the name of a subscription that replaces others. A relay that takes only one subscription gets the same name
    /// again, which replaces it at once (NIP-01).
    private mutating func nextID(replacing replaced: [SubscriptionID]) -> SubscriptionID? {
        if self.limits.replacesInPlace, let id = replaced.first { return id }
        self.counter += 1
        return SubscriptionID(ByteString("nws\(self.counter)"))
    }

    /// Returns at most `count` of the missing keys, those first that were added first.
    private func firstMissing(_ count: Int) -> some Sequence<PublicKey> {
        let all = Array(self.missing)
        return all.count <= count
            ? all[...] : all.sorted { self.order[$0] ?? .max < self.order[$1] ?? .max }.prefix(max(0, count))
    }

    /// Returns the keys of the next REQ, and the subscriptions that it replaces.
    ///
    /// It replaces the newest subscriptions, as long as each has at most twice as many keys as the REQ, or there are too
    /// many subscriptions, and the REQ does not become too large. If too many removed keys are subscribed to, it replaces
    /// the subscriptions that have the most of them.
    private func nextRecipients() -> (Set<PublicKey>, replaced: [SubscriptionID]) {
        let capacity = self.limits.keysPerRequest
        var recipients: Set<PublicKey> = []
        var replaced: [SubscriptionID] = []
        func take(_ part: Part) -> Bool {
            let wanted = part.recipients.intersection(self.wanted)
            guard recipients.count + wanted.count <= capacity else { return false }
            recipients.formUnion(wanted)
            replaced.append(part.id)
            return true
        }
        if self.hasExcess {
            func excess(_ part: Part) -> Int { part.recipients.subtracting(self.wanted).count }
            for part in self.parts.sorted(by: { excess($0) > excess($1) }) where !take(part) { break }
            recipients.formUnion(self.firstMissing(capacity - recipients.count))
            return (recipients, replaced)
        }
        recipients = Set(self.firstMissing(capacity))
        for part in self.parts.reversed() {
            let isCrowded =
                self.parts.count - replaced.count >= min(Self.preferredParts, self.limits.subscriptions)
            guard isCrowded || part.recipients.count <= 2 * recipients.count, take(part) else { break }
        }
        if self.parts.count - replaced.count >= self.limits.subscriptions {
            // Only some of the missing keys fit, beside those of the smallest subscription.
            recipients = []
            replaced = []
            if let smallest = self.parts.min(by: { $0.recipients.count < $1.recipients.count }) { _ = take(smallest) }
            recipients.formUnion(self.firstMissing(capacity - recipients.count))
        }
        return (recipients, replaced)
    }

    /// Records that the relay answered a REQ, or did not answer it in time. Call ``advance()`` afterwards.
    mutating func settle(_ id: SubscriptionID, _ acceptance: Acceptance) -> [Action] {
        if var next, next.id == id {
            if case .rejected(let reason) = acceptance {
                self.next = nil
                return self.rejected(next, reason)
            }
            next.acceptance = acceptance
            let replaced = self.replaced
            // Keys that were removed and added again meanwhile are only in the replaced subscriptions.
            for part in self.parts where replaced.contains(part.id) {
                self.missing.formUnion(part.recipients.intersection(self.wanted).subtracting(next.recipients))
            }
            self.parts.removeAll { replaced.contains($0.id) }
            self.parts.append(next)
            self.next = nil
            self.replaced = []
            self.since = nil
            return [.ready(next.recipients)] + replaced.filter { $0 != id }.map { .close($0) }
        }
        // Search the newest part first, because most events belong to it.
        guard let index = self.parts.lastIndex(where: { $0.id == id }), self.parts[index].acceptance != acceptance
        else {
            return []
        }
        if case .rejected(let reason) = acceptance {
            guard self.parts[index].acceptance == .assumed else { return [.reconnect] }
            // The rejection arrived after the subscription was assumed to be active.
            return self.rejected(self.parts.remove(at: index), reason)
        }
        if acceptance == .accepted { self.parts[index].acceptance = .accepted }
        return []
    }

    private mutating func rejected(_ part: Part, _ reason: ReasonText) -> [Action] {
        if self.next == nil { self.replaced = [] }
        // The relay no longer has the subscription of the same name either.
        if let old = self.parts.firstIndex(where: { $0.id == part.id }) {
            self.missing.formUnion(self.parts.remove(at: old).recipients.intersection(self.wanted))
        }
        self.missing.formUnion(part.recipients.intersection(self.wanted).filter { !self.isRequested($0) })
        self.rejection = reason
        self.isWaiting = true
        return reason.prefix == .authRequired ? [.authenticate] : [.retryLater]
    }

    /// Returns the filters of a REQ: one for live events and, after a reconnect, one for missed events.
    ///
    /// The filter for live events has `limit: 0`, because some relays store ephemeral events for a while and would send
    /// them again. It has no `since`, which would exclude events from clients whose clocks are behind.
    private func filters(for recipients: Set<PublicKey>) -> [Filter] {
        let sorted = recipients.sorted { $0.bytes < $1.bytes }
        return stride(from: 0, to: sorted.count, by: self.limits.keysPerFilter).flatMap { start -> [Filter] in
            let keys = sorted[start..<min(start + self.limits.keysPerFilter, sorted.count)]
            let live = Filter(kinds: [.tunnelMessage], recipients: keys, limit: 0)
            let missing = keys.filter { self.catchingUp.contains($0) }
            guard let since = self.since, !missing.isEmpty else { return [live] }
            return [live, Filter(kinds: [.tunnelMessage], recipients: missing, since: since)]
        }
    }
}
