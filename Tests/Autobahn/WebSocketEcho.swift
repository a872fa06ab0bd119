//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import HTTPTransport
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix

/// Echoes WebSocket messages, as the server or the client under test of the Autobahn suite.
///
/// `websocket-echo server` listens on a free loopback port and prints `port: N`. `websocket-echo client HOST:PORT` runs
/// all cases of the Autobahn server at that address.
@main
struct WebSocketEcho {
    /// Some Autobahn cases send messages of 16 MiB.
    private static var configuration: WebSocketConfiguration {
        var configuration = WebSocketConfiguration()
        configuration.maximumMessageLength = 17 << 20
        return configuration
    }

    static func main() async {
        let arguments = Array(CommandLine.arguments.dropFirst())
        do {
            switch (arguments.first, arguments.dropFirst().first) {
            case ("server", nil): try await Self.serve()
            case ("client", let address?): try await Self.connect(to: address)
            default:
                print("usage: websocket-echo server | client HOST:PORT")
                exit(64)
            }
        } catch {
            print("websocket-echo: \(error)")
            exit(1)
        }
    }

    /// Holds the socket once the connection is open.
    private typealias Holder = NIOLoopBoundBox<WebSocket?>

    private static func echo(_ holder: Holder, onClose: @escaping @Sendable () -> Void) -> WebSocket.Events {
        var events = WebSocket.Events(onMessage: { holder.value?.sendText($0) }, onClose: { _ in onClose() })
        events.onBinary = { holder.value?.sendBinary($0) }
        return events
    }

    private static func serve() async throws {
        var configuration = HTTPServer.Configuration(host: "127.0.0.1", port: 0)
        configuration.webSocket = Self.configuration
        let server = try await HTTPServer.start(
            configuration,
            on: MultiThreadedEventLoopGroup.singleton,
            logger: Logger(label: "echo"),
            route: { _ in .text(.notFound, "This server accepts only WebSocket connections.") },
            upgrade: { _, channel in
                let holder = Holder(nil, eventLoop: channel.eventLoop)
                return HTTPServer.WebSocketAcceptor(
                    events: Self.echo(holder, onClose: { holder.value = nil }),
                    onOpen: { holder.value = $0 }
                )
            }
        )
        let line = "port: \(server.localAddress.port ?? 0)\n"
        try FileHandle.standardOutput.write(contentsOf: Data(line.utf8))
        try await server.closed()
    }

    private static func connect(to address: String) async throws {
        let parts = address.split(separator: ":")
        guard parts.count == 2, let port = Int(parts[1]) else { fatalError("\(address): needs HOST:PORT") }
        let socketAddress = try SocketAddress(ipAddress: String(parts[0]), port: port)
        let count = try await Self.open(socketAddress, "/getCaseCount", collects: true).flatMap { Int($0) } ?? 0
        print("cases: \(count)")
        guard count > 0 else { exit(1) }
        for number in 1...count { _ = try await Self.open(socketAddress, "/runCase?case=\(number)&agent=nws") }
        _ = try await Self.open(socketAddress, "/updateReports?agent=nws")
    }

    /// Opens a connection and waits until it closes.
    ///
    /// - Parameter collects: Whether to keep the last message instead of echoing messages.
    /// - Returns: The last message if `collects` is true, otherwise nil.
    private static func open(_ address: SocketAddress, _ path: String, collects: Bool = false) async throws -> String? {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let end = loop.makePromise(of: Void.self)
        let holder = Holder.makeBoxSendingValue(nil, eventLoop: loop)
        let last = NIOLoopBoundBox<String?>.makeBoxSendingValue(nil, eventLoop: loop)
        var events = Self.echo(holder, onClose: { end.succeed() })
        if collects { events.onMessage = { last.value = String(buffer: $0) } }
        let target = WebSocketClient.Target(
            addresses: [address],
            host: "127.0.0.1",
            authority: "127.0.0.1:\(address.port ?? 0)",
            requestTarget: path,
            tls: nil
        )
        let connection = loop.flatSubmit { [events] in
            WebSocketClient.connect(to: target, on: loop, configuration: Self.configuration, events: events)
                .map { holder.value = $0 }
        }
        connection.whenFailure { end.fail($0) }
        try await end.futureResult.get()
        return try await loop.submit {
            holder.value = nil
            return last.value
        }.get()
    }
}
