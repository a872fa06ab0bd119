//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import Synchronization

/// Says that a limit was reached: at once, and then at most every ten seconds, with a count.
final class LimitLog: Sendable {
    private struct Count {
        var since: NIODeadline
        var reached = 0
    }

    private static let interval: TimeAmount = .seconds(10)

    private let logger: Logger
    private let counts = Mutex<[String: Count]>([:])

    init(logger: Logger) {
        self.logger = logger
    }

    /// - Parameter limit: One of a few constant texts.
    func reached(_ limit: String) {
        let now = NIODeadline.now()
        let times = self.counts.withLock { counts -> Int? in
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
        self.logger.warning("limit reached: \(limit)", metadata: ["times": "\(times)"])
    }
}
