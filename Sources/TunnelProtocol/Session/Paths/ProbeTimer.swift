//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// When a path is probed: nothing was acknowledged on it for too long (RFC 9002, section 6.2), it is probing, or a packet
/// arrived on it after a silence.
struct ProbeTimer: Hashable, Sendable {
    /// Number of consecutive probe timeouts after which the path is silent.
    static let silentProbes = 3

    /// Number of consecutive probe timeouts (RFC 9002: pto_count).
    private(set) var count = 0
    /// When the next probe is due while the path is probing, or because a packet arrived on a path that had been silent.
    private(set) var due: NIODeadline?
    /// Whether the path was probed because a packet arrived on it, since a packet was last acknowledged.
    private var hasProbedAgain = false
    /// Whether a packet was acknowledged since the relay was connected.
    private var isAnswered = false
    /// When an ack-eliciting packet was last sent.
    private(set) var lastSent = NIODeadline.uptimeNanoseconds(0)
    /// When an ack-eliciting packet was last acknowledged.
    private(set) var lastAcknowledgement = NIODeadline.uptimeNanoseconds(0)

    /// Records that an ack-eliciting packet was sent.
    mutating func sent(isActive: Bool, at now: NIODeadline) {
        if isActive { self.due = nil }
        self.lastSent = now
    }

    /// Records that packets were acknowledged.
    ///
    /// - Parameters:
    ///   - isEliciting: Whether an ack-eliciting packet is among them.
    ///   - now: The current time.
    mutating func acknowledged(isEliciting: Bool, at now: NIODeadline) {
        if isEliciting { self.lastAcknowledgement = now }
        self.count = 0
        self.due = nil
        self.hasProbedAgain = false
        self.isAnswered = true
    }

    /// Schedules a probe.
    mutating func schedule(at due: NIODeadline) { self.due = due }

    mutating func cancel() { self.due = nil }

    /// Starts counting anew, because the relay was connected.
    mutating func connected() {
        self.count = 0
        self.hasProbedAgain = false
        self.isAnswered = false
    }

    /// When an active path must be probed.
    ///
    /// - Parameters:
    ///   - oldest: When the oldest packet in flight was sent. Nil if nothing is in flight.
    ///   - isAlone: Whether no other path is active. Then the time starts with the last packet (RFC 9002, section 6.2.1).
    ///     Otherwise it starts when the path last showed that it delivers, so that what was sent on it meanwhile is soon sent
    ///     on another one.
    ///   - timeout: The probe timeout (RFC 9002: PTO). It doubles with each probe.
    func deadline(oldest: NIODeadline?, isAlone: Bool, timeout: TimeAmount) -> NIODeadline? {
        guard let oldest else { return self.due }
        let start = isAlone ? self.lastSent : max(oldest, self.lastAcknowledgement)
        let overdue = start + .nanoseconds(timeout.nanoseconds << Int64(min(self.count, Self.silentProbes)))
        return self.due.map { min($0, overdue) } ?? overdue
    }

    /// What follows from a timeout.
    enum Timeout: Hashable, Sendable {
        /// A probe was scheduled before the timeout. It is no sign that the path is silent.
        case early
        /// The path is silent for the first time, or was probing before.
        case silent(isNew: Bool)
        /// A packet or its acknowledgement may have been lost.
        case overdue
    }

    /// Handles a timeout.
    mutating func timedOut(isActive: Bool, at now: NIODeadline) -> Timeout {
        let isEarly = isActive && self.due.map { $0 <= now } ?? false
        self.due = nil
        if isEarly, self.count == 0 { return .early }
        if !isEarly { self.count += 1 }
        if isActive, self.count < Self.silentProbes { return .overdue }
        return .silent(isNew: self.count == Self.silentProbes)
    }

    /// Schedules a probe because a packet arrived on a path that has been silent: once in a silence if it is active.
    ///
    /// A path on which nothing was acknowledged yet counts as silent, because the peer may have connected to the relay only
    /// after the first packets were sent. The relay then dropped them.
    ///
    /// - Parameters:
    ///   - isActive: Whether the path is active. If not, it is probing.
    ///   - isWaiting: Whether an acknowledgement is expected.
    ///   - roundTrip: The RTT of the path, at least the time between two such probes.
    ///   - now: The current time.
    mutating func heard(isActive: Bool, isWaiting: Bool, roundTrip: TimeAmount, at now: NIODeadline) {
        if isActive {
            guard self.count > 0 || !self.isAnswered, !self.hasProbedAgain, isWaiting else { return }
            self.hasProbedAgain = true
        }
        let next = max(now, self.lastSent + roundTrip)
        self.due = min(self.due ?? next, next)
    }
}
