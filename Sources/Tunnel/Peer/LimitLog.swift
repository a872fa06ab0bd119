//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOConcurrencyHelpers
import NIOCore

/// Logs when a limit is reached: the first time immediately, then at most every ten seconds, with the number of times.
final class LimitLog: Sendable {
    /// A limit. The raw value is its name in the log.
    enum Limit: String, CaseIterable {
        case streams
        case streamsOfClient = "streams of one client"
        case connectsOfClient = "connects of one client"
        case sessions
        case handshakes = "messages of unknown clients"
        case plainClients = "clients of plain NIP-74"
        case connections = "connections of clients"
        case reverseConnections = "connections of exits"
    }

    private struct Count {
        var since: NIODeadline
        var reached = 0
    }

    private static let interval: TimeAmount = .seconds(10)

    private let logger: Logger
    private let counts = NIOLockedValueBox<[Limit: Count]>([:])

    init(logger: Logger) {
        self.logger = logger
    }

    func reached(_ limit: Limit) {
        let now = NIODeadline.now()
        let times = self.counts.withLockedValue { counts -> Int? in
            guard var count = counts[limit], count.since + Self.interval > now else {
                let before = counts[limit]?.reached ?? 0
                counts[limit] = Count(since: now)
                return before + 1
            }
            count.reached += 1
            counts[limit] = count
            return nil
        }
        guard let times else { return }
        self.logger.warning("limit reached", metadata: ["limit": "\(limit.rawValue)", "times": "\(times)"])
    }
}
