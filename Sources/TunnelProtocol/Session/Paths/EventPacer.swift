//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Limits the event rate of a path after its relay has rejected an event with `rate-limited:`.
///
/// Relays do not declare their limit. The initial rate is derived from the number of events that the relay accepted
/// recently. Each further rejection reduces the rate, and it increases slowly while the relay accepts events.
struct EventPacer: Hashable, Sendable {
    /// Minimum rate in events per second.
    private static let slowest = 0.5
    /// Rejections within this time count as one.
    private static let refusalWindow: TimeAmount = .milliseconds(400)
    /// Relative increase of the rate per second without a rejection.
    private static let growth = 0.06
    /// Rate in events per second above which pacing stops.
    private static let unlimited = 20_000.0

    /// The rate in events per second. Nil if the path is not paced.
    private(set) var rate: Double?
    private var nextSend = NIODeadline.uptimeNanoseconds(0)
    private var lastRefusal = NIODeadline.uptimeNanoseconds(0)
    private var lastChange = NIODeadline.uptimeNanoseconds(0)
    /// Number of events that the relay accepted in the current second and in the previous one.
    private var taken: (second: UInt64, count: Int, before: Int) = (0, 0, 0)

    static func == (left: Self, right: Self) -> Bool { left.rate == right.rate && left.nextSend == right.nextSend }

    func hash(into hasher: inout Hasher) { hasher.combine(self.rate) }

    /// When the next event may be sent. Nil if it may be sent now.
    func wait(at now: NIODeadline) -> NIODeadline? {
        guard self.rate != nil, self.nextSend > now else { return nil }
        return self.nextSend
    }

    mutating func sent(at now: NIODeadline) {
        guard let rate else { return }
        self.nextSend = max(self.nextSend, now) + .nanoseconds(Int64(1_000_000_000 / rate))
    }

    /// Records that the relay accepted an event, and increases the rate.
    mutating func accepted(at now: NIODeadline) {
        self.count(at: now)
        guard let rate else { return }
        let since = Double((now - self.lastChange).nanoseconds) / 1_000_000_000
        guard since >= 0.25 else { return }
        self.lastChange = now
        let faster = rate * (1 + Self.growth * min(1, since)) + 0.05
        self.rate = faster > Self.unlimited ? nil : faster
    }

    /// Records that the relay rejected an event because of its rate limit, and reduces the rate.
    mutating func refused(at now: NIODeadline) {
        guard self.lastRefusal + Self.refusalWindow <= now || self.rate == nil else { return }
        self.lastRefusal = now
        self.lastChange = now
        self.roll(at: now)
        let lately = Double(max(1, max(self.taken.count, self.taken.before)))
        // The relay may have let a burst through, so this is only an estimate. The next rejection corrects it.
        let known = self.rate.map { min($0, lately) } ?? lately
        self.rate = max(Self.slowest, known * 0.9)
        self.nextSend = max(self.nextSend, now + .milliseconds(100))
    }

    private mutating func count(at now: NIODeadline) {
        self.roll(at: now)
        self.taken.count += 1
    }

    private mutating func roll(at now: NIODeadline) {
        let second = now.uptimeNanoseconds / 1_000_000_000
        guard second != self.taken.second else { return }
        let before = second == self.taken.second + 1 ? self.taken.count : 0
        self.taken = (second, 0, before)
    }
}
