//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import Foundation
import NIOConcurrencyHelpers
import Observability

/// The metrics of the process, and its most recent warnings and errors.
enum ProcessMetrics {
    static let registry = PrometheusRegistry()
    static let startedAt = Date().timeIntervalSince1970

    /// Installs the registry as the metrics backend. Call it once, before any metric is created.
    static func install() {
        _ = Self.startedAt
        MetricsSystem.bootstrap(Self.registry)
    }

    // MARK: Problems

    private static let maximumProblems = 50
    /// Maximum number of characters of a message and of each detail.
    private static let maximumText = 500
    private static let recent = NIOLockedValueBox<[StatusReport.Problem]>([])

    /// The most recent warnings and errors, oldest first.
    static var problems: [StatusReport.Problem] { Self.recent.withLockedValue { $0 } }

    /// Whether two problems differ at most in how often something happened.
    private static func isSame(_ one: StatusReport.Problem, _ other: StatusReport.Problem) -> Bool {
        func essence(_ problem: StatusReport.Problem) -> [String: String] {
            (problem.details ?? [:]).filter { $0.key != "times" }
        }
        return one.text == other.text && essence(one) == essence(other)
    }

    static func note(_ text: String, details: [String: String]) {
        var problem = StatusReport.Problem(
            time: Date().timeIntervalSince1970,
            text: String(text.prefix(Self.maximumText)),
            details: details.mapValues { String($0.prefix(Self.maximumText)) }
        )
        Self.recent.withLockedValue { problems in
            // Repetitions would push everything else out.
            if let index = problems.lastIndex(where: { Self.isSame($0, problem) }) {
                problem.count += problems.remove(at: index).count
            }
            problems.append(problem)
            if problems.count > Self.maximumProblems { problems.removeFirst() }
        }
    }
}
