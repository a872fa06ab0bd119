//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NIOEmbedded

/// The frames of both ends of a WebSocket connection.
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
            else { fatalError("no handlers") }
            try? channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
            let size = max(1, Int(input.first ?? 1))
            for start in stride(from: 0, to: input.count, by: size) {
                _ = try? channel.writeInbound(ByteBuffer(bytes: input[start..<min(start + size, input.count)]))
                channel.embeddedEventLoop.run()
                while (try? channel.readOutbound(as: ByteBuffer.self)) != nil {}
            }
            channel.embeddedEventLoop.advanceTime(by: .minutes(2))
            _ = try? channel.finish(acceptAlreadyClosed: true)
        }
    }
}
