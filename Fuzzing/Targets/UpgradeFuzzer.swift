//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NIOEmbedded
import NIOHTTP1

/// Fuzzes the HTTP upgrade to WebSocket, and the frames after it, at the server and the client.
enum UpgradeFuzzer {
    static func run(_ input: [UInt8]) {
        Self.feed(input) { channel in
            let configuration = HTTPServer.Configuration(host: "127.0.0.1", port: 1)
            try HTTPServer.addHandlers(
                to: channel,
                configuration,
                ConnectionCounter(configuration),
                route: { request in
                    .text(.ok, request.head.headers.first(name: "Accept") ?? request.path)
                },
                upgrade: { request, _ in
                    // Refuse the upgrade for some paths.
                    guard !request.path.hasPrefix("/no") else { return nil }
                    return HTTPServer.WebSocketAcceptor(events: Self.events, onOpen: { _ in })
                }
            )
        }
        Self.feed(input) { channel in
            let promise = channel.eventLoop.makePromise(of: WebSocket.self)
            try WebSocketClient.addHandlers(
                to: channel,
                target: WebSocketClient.Target(
                    addresses: [],
                    host: "relay.example",
                    authority: "relay.example",
                    requestTarget: "/",
                    tls: nil
                ),
                configuration: WebSocketConfiguration(),
                events: Self.events,
                promise: promise
            )
            // A promise must be completed. If the handshake did not complete it, fail it when the connection closes.
            channel.closeFuture.whenComplete { _ in
                promise.fail(ChannelError.eof)
            }
        }
    }

    private static var events: WebSocket.Events {
        WebSocket.Events(onMessage: { _ in }, onClose: { _ in })
    }

    private static func feed(_ input: [UInt8], _ addHandlers: (EmbeddedChannel) throws -> Void) {
        let channel = EmbeddedChannel()
        guard (try? addHandlers(channel)) != nil else { fatalError("cannot add handlers") }
        channel.live(on: input)
    }
}
