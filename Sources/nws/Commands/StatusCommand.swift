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

    /// Whether the numbers can be displayed. The response may be from any program, so they can have any value.
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
