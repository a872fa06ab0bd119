//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore

/// Limits the rate of log messages that clients can cause, for each topic, and counts those that are left out. It performs
/// no I/O.
struct LogRates {
    /// What a message is about.
    enum Topic: CaseIterable {
        /// The end of a stream.
        case streams
        /// The beginning and end of a session.
        case sessions
        /// A client of the proxy whose handshake failed.
        case handshakes
        /// Another exit with the same key.
        case duplicateKeys
        /// Messages of machines that an exit does not know.
        case strangers
        /// Everything else: refusals and failures.
        case problems

        fileprivate var perSecond: Int {
            switch self {
            case .streams: 50
            case .sessions: 20
            case .handshakes, .duplicateKeys, .strangers: 1
            case .problems: 5
            }
        }
    }

    /// Time between two reports of the messages that were left out.
    private static let reportInterval: TimeAmount = .seconds(10)

    private var buckets: [Topic: TokenBucket] = [:]
    private var leftOut = 0
    private var lastReport: NIODeadline

    init(now: NIODeadline) { self.lastReport = now }

    /// Returns whether a message may be logged.
    mutating func admit(_ topic: Topic, at now: NIODeadline) -> Bool {
        let isAdmitted = self.buckets[topic, default: TokenBucket(perSecond: topic.perSecond, now: now)].take(at: now)
        if !isAdmitted { self.leftOut += 1 }
        return isAdmitted
    }

    /// Returns the number of messages that were left out since the last report, if a report is due.
    mutating func report(at now: NIODeadline) -> Int? {
        guard self.leftOut > 0, self.lastReport + Self.reportInterval <= now else { return nil }
        defer {
            self.leftOut = 0
            self.lastReport = now
        }
        return self.leftOut
    }
}
