//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOConcurrencyHelpers
import NIOCore

/// Logs messages that clients can cause any number of times, at a limited rate for each topic.
struct LimitedLogger: Sendable {
    private let logger: Logger
    private let rates = NIOLockedValueBox(LogRates(now: .now()))

    init(_ logger: Logger) { self.logger = logger }

    func log(
        _ level: Logger.Level,
        _ message: Logger.Message,
        _ metadata: @autoclosure () -> Logger.Metadata = [:],
        topic: LogRates.Topic
    ) {
        // A message that is not shown must not use up the rate.
        guard level >= self.logger.logLevel else { return }
        let now = NIODeadline.now()
        let (leftOut, isAdmitted) = self.rates.withLockedValue { ($0.report(at: now), $0.admit(topic, at: now)) }
        if let leftOut {
            self.logger.notice("log messages left out because of their rate", metadata: ["count": "\(leftOut)"])
        }
        if isAdmitted { self.logger.log(level: level, message, metadata: metadata()) }
    }
}
