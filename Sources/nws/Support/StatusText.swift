//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import Observability

/// Formats a status report as text for a terminal.
enum StatusText {
    static func lines(_ report: StatusReport) -> [String] {
        let age = span(Int(Date().timeIntervalSince1970 - report.startedAt))
        var lines = [
            "nws \(report.role) \(report.version), \(report.isReady ? "ready" : "NOT READY"), up \(age)", report.name,
            "",
        ]
        if let connections = report.connections {
            lines.append("connections   \(connections)")
            if let work = report.work {
                lines += [
                    "subscriptions \(work.subscriptions)", "stored events \(work.stored)",
                    "events        \(work.accepted) accepted, \(work.delivered) delivered",
                    "received      \(bytes(report.receivedRates.last ?? 0))/s, \(bytes(Double(report.receivedBytes))) total",
                    "sent          \(bytes(report.sentRates.last ?? 0))/s, \(bytes(Double(report.sentBytes))) total",
                ]
                let rejections = work.rejections.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
                lines += ["", row(["REJECTED", "COUNT", "", "", "", ""])]
                lines +=
                    rejections.isEmpty ? ["none"] : rejections.map { row([$0.key, "\($0.value)", "", "", "", ""]) }
            }
        } else {
            lines += [
                "received    \(bytes(report.receivedRates.last ?? 0))/s, \(bytes(Double(report.receivedBytes))) total",
                "sent        \(bytes(report.sentRates.last ?? 0))/s, \(bytes(Double(report.sentBytes))) total",
                "streams     \(report.streams)",
                "sessions    \(report.sessions.count + report.moreSessions)", "",
            ]
            if !report.services.isEmpty {
                lines.append(row(["SERVICE", "TARGET", "", "", "", ""]))
                for service in report.services {
                    lines.append(row([service.port.map { "\($0)" } ?? "other ports", service.target, "", "", "", ""]))
                }
                lines.append("")
            }
            lines.append(row(["RELAY", "STATE", "ROUND TRIP", "LOST", "RATE", "SESSIONS"]))
            for relay in report.relays {
                lines.append(
                    row([
                        relay.url, relay.isUp ? "up" : "down",
                        relay.roundTrip.map { String(format: "%.1f ms", $0) } ?? "-",
                        relay.loss.map { String(format: "%.1f %%", $0 * 100) } ?? "-",
                        relay.rate.map { "\(bytes($0))/s" } ?? "-", "\(relay.sessions)",
                    ])
                )
                if !relay.isUp, let error = relay.error { lines.append("  \(error)") }
                if relay.isUp, let rate = relay.limitedRate { lines.append("  \(self.rateLimit(rate))") }
            }
            lines += ["", row(["PEER", "PROTOCOL", "STREAMS", "AGE", ""])]
            for session in report.sessions {
                lines.append(
                    row([session.device ?? session.peer, session.protocol, "\(session.streams)", span(session.age), ""])
                )
                if let way = self.way(session) { lines.append("  " + way) }
            }
            if report.moreSessions > 0 { lines.append("and \(report.moreSessions) more") }
        }
        if !report.problems.isEmpty { lines += ["", "RECENT PROBLEMS"] }
        for problem in report.problems.suffix(10).reversed() {
            let time = Date(timeIntervalSince1970: problem.time).formatted(.iso8601)
            let count = problem.count > 1 ? "  (\(problem.count) times)" : ""
            let details = (problem.details ?? [:]).sorted { $0.key < $1.key }.map { "  \($0.key)=\($0.value)" }.joined()
            lines.append("\(time)  \(problem.text)\(count)\(details)")
        }
        return lines.map(Console.printable)
    }

    /// Says how the packets of a session travel. Nil with plain NIP-74.
    private static func way(_ session: StatusReport.Session) -> String? {
        guard let direct = session.direct else {
            return session.reasonForRelays.map { "through relays: \($0)" }
        }
        let parts = [
            "direct: \(direct.address)", direct.roundTrip.map { String(format: "round trip %.1f ms", $0) },
            direct.loss.map { String(format: "lost %.1f %%", $0 * 100) }, direct.rate.map { "\(self.bytes($0))/s" },
        ]
        return parts.compactMap { $0 }.joined(separator: ", ")
    }

    /// Says that a relay limits the rate of events.
    static func rateLimit(_ perSecond: Double) -> String {
        let rate =
            perSecond < 1
            ? String(format: "%.1f events a minute", perSecond * 60) : String(format: "%.1f events a second", perSecond)
        return "limits the rate of events, to about \(rate)"
    }

    private static let widths = [64, 9, 11, 9, 11, 9]

    private static func row(_ cells: [String]) -> String {
        zip(cells, widths).map { $0.padding(toLength: max($1, $0.count + 1), withPad: " ", startingAt: 0) }.joined()
            .trimmingCharacters(in: .whitespaces)
    }

    private static func bytes(_ count: Double) -> String {
        var (count, unit) = (count, 0)
        let units = ["B", "kB", "MB", "GB", "TB"]
        while count >= 999.5, unit < units.count - 1 {
            count /= 1_000
            unit += 1
        }
        return String(format: unit > 0 && count < 99.95 ? "%.1f %@" : "%.0f %@", count, units[unit])
    }

    private static func span(_ seconds: Int) -> String {
        switch seconds {
        case ..<60: "\(max(0, seconds)) s"
        case ..<3_600: "\(seconds / 60) min"
        case ..<86_400: "\(seconds / 3_600) h \(seconds % 3_600 / 60) min"
        default: "\(seconds / 86_400) d \(seconds % 86_400 / 3_600) h"
        }
    }
}
