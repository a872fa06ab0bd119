//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NostrCrypto

/// Limits how many lines each identity causes in an audit log, so that nobody can fill it and hide the lines of others.
/// Clients without an identity share one rate. It performs no I/O.
struct AuditRates {
    /// Lines per second of one identity. Bursts may be ten times as large.
    private static let linesPerSecond = 20
    private static let burst = 200
    /// Time between two lines about what was left out.
    private static let reportInterval: TimeAmount = .seconds(10)
    /// Maximum number of identities that are stored. If more are active at once, the others share the rate of strangers.
    static let maximumIdentities = 10_000

    private var buckets: [PublicKey?: TokenBucket] = [:]
    private var leftOut = 0
    private var lastReport: NIODeadline

    init(now: NIODeadline) { self.lastReport = now }

    /// Returns whether a line may be written.
    mutating func admit(_ identity: PublicKey?, at now: NIODeadline) -> Bool {
        var identity = identity
        if self.buckets[identity] == nil, self.buckets.count >= Self.maximumIdentities {
            self.sweep(at: now)
            if self.buckets.count >= Self.maximumIdentities { identity = nil }
        }
        let full = TokenBucket(perSecond: Self.linesPerSecond, burst: Self.burst, now: now)
        let isAdmitted = self.buckets[identity, default: full].take(at: now)
        if !isAdmitted { self.leftOut += 1 }
        return isAdmitted
    }

    /// Removes identities whose rate is not used.
    private mutating func sweep(at now: NIODeadline) {
        self.buckets = self.buckets.filter { entry in
            var bucket = entry.value
            _ = bucket.take(0, at: now)
            return bucket.used > 0
        }
    }

    /// Counts lines that could not be written.
    mutating func lost(_ count: Int) { self.leftOut += count }

    /// Returns the number of lines that were left out since the last report, if a report is due.
    mutating func report(at now: NIODeadline) -> Int? {
        guard self.lastReport + Self.reportInterval <= now, let count = self.report() else { return nil }
        self.lastReport = now
        return count
    }

    /// Returns the number of lines that were left out since the last report, if there are any.
    mutating func report() -> Int? {
        defer { self.leftOut = 0 }
        return self.leftOut > 0 ? self.leftOut : nil
    }
}
