//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NIOEmbedded

/// Fuzzes the WebSocket frame decoder of the server and the client.
enum WebSocketFuzzer {
    static func run(_ input: [UInt8]) {
        for isServer in [true, false] {
            let channel = EmbeddedChannel()
            var configuration = WebSocketConfiguration()
            configuration.maximumMessageLength = 4_096
            guard
                (try? WebSocket.attach(
                    toBare: channel,
                    configuration: configuration,
                    isServer: isServer,
                    events: WebSocket.Events(
                        onMessage: { precondition($0.readableBytes <= 4_096) },
                        onClose: { _ in }
                    )
                )) != nil
            else { fatalError("cannot add handlers") }
            channel.live(on: input)
        }
    }
}
