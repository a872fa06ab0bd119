//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import TunnelProtocol

/// The answers of several relays to one event. Reports the first acceptance, or the last failure if no relay accepts
/// the event.
final class PublishAnswers {
    private var unanswered: Int
    /// Called once. Nil after that.
    private var report: ((PublishOutcome) -> Void)?

    /// - Parameter count: Number of relays.
    init(count: Int, report: @escaping (PublishOutcome) -> Void) {
        self.unanswered = count
        self.report = report
    }

    func receive(_ outcome: PublishOutcome) {
        self.unanswered -= 1
        if case .accepted = outcome {} else if self.unanswered > 0 { return }
        self.report?(outcome)
        self.report = nil
    }
}
