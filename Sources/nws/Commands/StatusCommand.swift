//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import HTTPTransport
import NIOCore
import NIOPosix
import Observability
import TunnelProtocol

/// The command `nws status`: shows the status of a running entry, exit or relay.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show the status of a running entry, exit or relay.",
        discussion: "The process must have been started with --admin."
    )

    @Argument(help: ArgumentHelp("Address given to --admin.", valueName: "host:port"))
    var admin: String

    @Option(
        help: ArgumentHelp("File with the token, if the process was started with --admin-token.", valueName: "file")
    )
    var token: String?

    @Flag(help: "Update the status every second until interrupted.")
    var watch = false

    @Flag(help: "Print the status as JSON.")
    var json = false

    func run() async throws {
        try await reportingErrors {
            // Also accept the URL that an entry, exit or relay prints at start.
            var place = self.admin
            if place.hasPrefix("http://") { place.removeFirst("http://".count) }
            if place.hasSuffix("/") { place.removeLast() }
            let address = try HostAndPort(place, source: "admin address")
            let token = try self.token.map { try AdminOptions.token($0, source: "--token") }
            repeat {
                let data = try await self.fetch(address, token)
                guard let report = try? JSONDecoder().decode(StatusReport.self, from: data), Self.isPlausible(report)
                else {
                    throw CommandError.failure(
                        "\(self.admin): the response is not from nws, or from an incompatible version"
                    )
                }
                if self.json {
                    Console.line(Console.printable(String(decoding: data, as: UTF8.self)))
                } else {
                    // Move the cursor home and clear the screen.
                    if self.watch { Console.line("\u{1b}[H\u{1b}[2J", terminator: "") }
                    for line in StatusText.lines(report) { Console.line(line) }
                }
                if self.watch { try await Task.sleep(for: .seconds(1)) }
            } while self.watch
        }
    }

    /// Whether the numbers are in the range that can be displayed. The server may be any program.
    private static func isPlausible(_ report: StatusReport) -> Bool {
        let times = [report.startedAt] + report.problems.map(\.time)
        return times.allSatisfy { (0..<1e11).contains($0) } && (0...Int(Int32.max)).contains(report.moreSessions)
    }

    private func fetch(_ address: HostAndPort, _ token: String?) async throws -> Data {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        do {
            let addresses = try await HostResolver.own.resolve(host: address.host, port: address.port, on: loop).get()
            let target = WebSocketClient.Target(
                addresses: addresses,
                host: address.host,
                authority: TargetAddress.text(host: address.host, port: address.port),
                requestTarget: "/status.json" + (token.map { "?token=\($0)" } ?? ""),
                tls: nil
            )
            let body = try await HTTPClient.get(target, accept: "application/json", on: loop).get().body
            return Data(body.readableBytesView)
        } catch HTTPClient.RequestError.status(401) {
            throw CommandError.failure("\(self.admin) requires a token: use --token FILE")
        } catch HTTPClient.RequestError.status(let code) {
            throw CommandError.failure(
                "\(self.admin) returned HTTP \(code); check that it is the --admin address of nws"
            )
        } catch let error as CommandError {
            throw error
        } catch {
            throw CommandError.failure(
                "cannot connect to \(self.admin); check that the process is running with --admin"
            )
        }
    }
}

/// Formats a status report as text for a terminal.
enum StatusText {
    static func lines(_ report: StatusReport) -> [String] {
        let age = span(Int(Date().timeIntervalSince1970 - report.startedAt))
        var lines = [
            "nws \(report.role) \(report.version), \(report.isReady ? "ready" : "NOT READY"), up \(age)", report.name,
            "",
        ]
        if let connections = report.connections {
            lines.append("connections \(connections)")
        } else {
            lines += [
                "received    \(bytes(report.receivedRates.last ?? 0))/s, \(bytes(Double(report.receivedBytes))) total",
                "sent        \(bytes(report.sentRates.last ?? 0))/s, \(bytes(Double(report.sentBytes))) total",
                "streams     \(report.streams)",
                "sessions    \(report.sessions.count + report.moreSessions)", "",
            ]
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
            }
            lines += ["", row(["PEER", "PROTOCOL", "STREAMS", "AGE", ""])]
            for session in report.sessions {
                lines.append(row([session.peer, session.protocol, "\(session.streams)", span(session.age), ""]))
            }
            if report.moreSessions > 0 { lines.append("and \(report.moreSessions) more") }
        }
        if !report.problems.isEmpty { lines += ["", "RECENT PROBLEMS"] }
        for problem in report.problems.suffix(10).reversed() {
            let time = Date(timeIntervalSince1970: problem.time).formatted(.iso8601)
            lines.append("\(time)  \(problem.text)")
        }
        return lines.map(Console.printable)
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
