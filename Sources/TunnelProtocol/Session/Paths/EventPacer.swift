//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// How many events a second a relay takes, once it has said `rate-limited:`.
///
/// Relays do not say what their limit is. The rate starts at what was taken lately, falls when the relay refuses again and
/// creeps up while it does not.
struct EventPacer: Hashable, Sendable {
    /// Slowest pace: one event in two seconds.
    private static let slowest = 0.5
    /// Refusals of one burst count once.
    private static let refusalWindow: TimeAmount = .milliseconds(400)
    /// How much faster each second without a refusal.
    private static let growth = 0.06
    /// Faster than this, nothing is paced any more.
    private static let unlimited = 20_000.0

    /// Events a second; nil while the relay has not complained.
    private(set) var rate: Double?
    private var nextSend = NIODeadline.uptimeNanoseconds(0)
    private var lastRefusal = NIODeadline.uptimeNanoseconds(0)
    private var lastChange = NIODeadline.uptimeNanoseconds(0)
    /// Events taken in the present second and the one before.
    private var taken: (second: UInt64, count: Int, before: Int) = (0, 0, 0)

    static func == (left: Self, right: Self) -> Bool { left.rate == right.rate && left.nextSend == right.nextSend }

    func hash(into hasher: inout Hasher) { hasher.combine(self.rate) }

    /// When the next event may go; nil for at once.
    func wait(at now: NIODeadline) -> NIODeadline? {
        guard self.rate != nil, self.nextSend > now else { return nil }
        return self.nextSend
    }

    mutating func sent(at now: NIODeadline) {
        guard let rate else { return }
        self.nextSend = max(self.nextSend, now) + .nanoseconds(Int64(1_000_000_000 / rate))
    }

    /// The relay took an event.
    mutating func accepted(at now: NIODeadline) {
        self.count(at: now)
        guard let rate else { return }
        let since = Double((now - self.lastChange).nanoseconds) / 1_000_000_000
        guard since >= 0.25 else { return }
        self.lastChange = now
        let faster = rate * (1 + Self.growth * min(1, since)) + 0.05
        self.rate = faster > Self.unlimited ? nil : faster
    }

    /// The relay refused an event for coming too soon.
    mutating func refused(at now: NIODeadline) {
        guard self.lastRefusal + Self.refusalWindow <= now || self.rate == nil else { return }
        self.lastRefusal = now
        self.lastChange = now
        self.roll(at: now)
        let lately = Double(max(1, max(self.taken.count, self.taken.before)))
        // A burst that was let through says little of the rate; the next refusal corrects it.
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
