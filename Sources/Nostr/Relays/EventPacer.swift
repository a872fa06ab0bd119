//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// Limits the rate of events to a relay: to a budget of this node, if there is one, and after the relay has rejected an event
/// with `rate-limited:`.
///
/// Relays do not declare their limit, so it is measured: between two rejections, most relays accept exactly as many events
/// as their limit allows. While events are accepted, the rate increases slowly at first, and then ever faster. Further
/// rejections without an accepted event in between do not change the rate, because the relay may count events in fixed
/// periods, but each makes the pause four times as long.
package struct EventPacer: Hashable, Sendable {
    /// Maximum time between two events.
    package static let longestInterval: TimeAmount = .seconds(300)
    /// The rate after the first rejection, in events per second, if no event was accepted before.
    private static let unknownRate = 1.0
    /// Number of events from which on the rate before the first rejection is taken for the relay's limit. A relay that has
    /// accepted fewer usually counts them for a longer time than it took to send them.
    private static let fewEvents = 20
    /// The share of the rate before the first rejection that is used if there were only ``fewEvents``.
    private static let cautiousShare = 0.1
    /// The least rate after the first rejection, in events per second. Few events were accepted if few were sent.
    private static let leastEstimate = 0.2
    /// The time before the first rejection over which accepted events are counted, in seconds.
    private static let window: UInt64 = 10
    /// The share of the measured limit that is used.
    private static let share = 0.95
    /// The least share of the previous rate that is used after a rejection. There may have been less to send.
    private static let leastShare = 0.125
    /// Minimum time between two increases of the rate.
    private static let growthInterval: TimeAmount = .milliseconds(250)
    /// Limits of the relative increase of the rate: for each event accepted since the last rejection, for each second, and
    /// at once.
    private static let growth = (perEvent: 0.002, perSecond: 0.02, most: 0.25)
    /// Time after a rejection in which the increase for each second doubles, in seconds.
    private static let acceleration = 10.0
    /// Rate in events per second above which pacing stops.
    private static let unlimited = 20_000.0

    /// The rate in events per second. Nil if events are not paced.
    package private(set) var rate: Double?
    private var nextSend = NIODeadline.uptimeNanoseconds(0)
    private var lastRejection = NIODeadline.uptimeNanoseconds(0)
    /// When an event was last rejected after others had been accepted.
    private var measuredSince = NIODeadline.uptimeNanoseconds(0)
    private var lastGrowth = NIODeadline.uptimeNanoseconds(0)
    /// Number of events accepted since the last rejection.
    private var acceptedCount = 0
    /// Number of rejections since an event was last accepted, beside the first.
    private var repeatedRejections = 0
    /// When the relay accepted the first event of the current and the previous period.
    private var firstAccepted: NIODeadline?
    /// Number of events that the relay accepted in a period of ``window``, and in the one before.
    private var taken: (period: UInt64, count: Int, before: Int) = (0, 0, 0)

    /// The limit of this node's own; nil for none.
    package let budget: EventBudget?
    /// The theoretical arrival time of the generic cell rate algorithm: when the events sent so far would fit the sustained
    /// rate of the budget.
    private var budgetTime = NIODeadline.uptimeNanoseconds(0)

    /// - Parameter budget: A limit that applies from the start; nil for none.
    package init(budget: EventBudget? = nil) { self.budget = budget }

    /// Whether the number of events is limited. Senders then use larger events.
    package var isLimited: Bool { self.rate != nil || self.budget != nil }

    package static func == (left: Self, right: Self) -> Bool {
        left.rate == right.rate && left.nextSend == right.nextSend
    }

    package func hash(into hasher: inout Hasher) { hasher.combine(self.rate) }

    /// When the next event may be sent. Nil if it may be sent now.
    package func wait(at now: NIODeadline) -> NIODeadline? {
        var next = self.nextSend
        if let budget { next = max(next, self.budgetTime - budget.tolerance) }
        return next > now ? next : nil
    }

    /// Sends nothing until `time`. The rate does not change.
    package mutating func hold(until time: NIODeadline) { self.nextSend = max(self.nextSend, time) }

    /// Time between two events at the current rate; zero if events are not paced.
    package var interval: TimeAmount {
        guard let rate else { return .zero }
        return min(Self.longestInterval, .nanoseconds(Int64(1_000_000_000 / max(rate, 0.001))))
    }

    package mutating func sent(at now: NIODeadline) {
        if let budget { self.budgetTime = max(self.budgetTime, now) + budget.interval }
        guard self.rate != nil else { return }
        self.nextSend = max(self.nextSend, now) + self.interval
    }

    /// Records that the relay accepted an event, and increases the rate.
    package mutating func accepted(at now: NIODeadline) {
        self.roll(at: now)
        self.taken.count += 1
        if self.firstAccepted == nil { self.firstAccepted = now }
        self.acceptedCount += 1
        self.repeatedRejections = 0
        guard let rate, now - self.lastGrowth >= Self.growthInterval else { return }
        let elapsed = min(Self.seconds(now - self.lastGrowth), Self.acceleration)
        let acceleration = 1 + Self.seconds(now - self.measuredSince) / Self.acceleration
        let growth = min(
            Self.growth.perEvent * Double(self.acceptedCount),
            Self.growth.perSecond * elapsed * acceleration,
            Self.growth.most
        )
        self.lastGrowth = now
        self.rate = rate * (1 + growth) > Self.unlimited ? nil : rate * (1 + growth)
    }

    /// Records that the relay rejected an event because of its rate limit, and reduces the rate. Does nothing if the event
    /// was sent before the previous rejection, which has reduced the rate already.
    ///
    /// - Parameters:
    ///   - sentAt: When the event was sent.
    ///   - now: The current time.
    package mutating func rejected(sentAt: NIODeadline, at now: NIODeadline) {
        guard self.rate == nil || sentAt >= self.lastRejection else { return }
        if let rate {
            if self.acceptedCount == 0 {
                self.repeatedRejections += 1
            } else {
                let measured = Double(self.acceptedCount) / max(Self.seconds(now - self.measuredSince), 0.001)
                self.rate = max(min(measured, rate) * Self.share, rate * Self.leastShare)
                self.measuredSince = now
            }
        } else {
            self.roll(at: now)
            self.rate = self.rateBefore(now)
            self.measuredSince = now
        }
        self.lastRejection = now
        self.lastGrowth = now
        self.acceptedCount = 0
        let pause = self.interval.nanoseconds << Int64(min(2 * self.repeatedRejections, 16))
        self.nextSend = now + min(Self.longestInterval, .nanoseconds(pause))
    }

    /// An estimate of the relay's limit at the first rejection.
    private func rateBefore(_ now: NIODeadline) -> Double {
        let count = self.taken.count + self.taken.before
        guard count > 0 else { return Self.unknownRate }
        let counted = NIODeadline.uptimeNanoseconds((max(1, self.taken.period) - 1) * Self.window * 1_000_000_000)
        let perSecond = Double(count) / max(1, Self.seconds(now - max(counted, self.firstAccepted ?? now)))
        return max(Self.leastEstimate, perSecond * (count < Self.fewEvents ? Self.cautiousShare : Self.share))
    }

    private static func seconds(_ time: TimeAmount) -> Double { Double(time.nanoseconds) / 1_000_000_000 }

    private mutating func roll(at now: NIODeadline) {
        let period = now.uptimeNanoseconds / 1_000_000_000 / Self.window
        guard period != self.taken.period else { return }
        let before = period == self.taken.period + 1 ? self.taken.count : 0
        if period != self.taken.period + 1 { self.firstAccepted = nil }
        self.taken = (period, 0, before)
    }
}
