//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NIOEmbedded

/// Fuzzes the WebSocket frame decoder of the server and the client, and the decompression of messages.
enum WebSocketFuzzer {
    static func run(_ input: [UInt8]) {
        for isServer in [true, false] {
            for takesCompressed in [false, true] {
                Self.run(input, isServer: isServer, takesCompressed: takesCompressed)
            }
        }
    }

    private static func run(_ input: [UInt8], isServer: Bool, takesCompressed: Bool) {
        let channel = EmbeddedChannel()
        var configuration = WebSocketConfiguration()
        configuration.maximumMessageLength = 4_096
        var events = WebSocket.Events(
            onMessage: { precondition($0.readableBytes <= 4_096) },
            onClose: { _ in }
        )
        events.onText = { precondition($0.length <= 4_096 && Self.isPassedOn($0)) }
        let socket = try? WebSocket.attach(
            toBare: channel,
            configuration: configuration,
            isServer: isServer,
            takesCompressed: takesCompressed,
            events: events
        )
        guard socket != nil else { fatalError("cannot add handlers") }
        channel.live(on: input)
    }

    /// Returns whether the compressed part of a message has the same text in another message.
    private static func isPassedOn(_ text: WebSocketText) -> Bool {
        guard let compressed = text.compressed else { return true }
        let channel = EmbeddedChannel()
        var configuration = WebSocketConfiguration()
        configuration.maximumMessageLength = 5_000
        let box = NIOLoopBoundBox<ByteBuffer?>(nil, eventLoop: channel.eventLoop)
        var events = WebSocket.Events(onMessage: { box.value = $0 }, onClose: { _ in })
        events.onText = { box.value = $0.parts[0] }
        let server = EmbeddedChannel()
        guard
            let sender = try? WebSocket.attach(
                toBare: server,
                configuration: configuration,
                isServer: true,
                takesCompressed: true,
                events: WebSocket.Events(onMessage: { _ in }, onClose: { _ in })
            ),
            (try? WebSocket.attach(
                toBare: channel,
                configuration: configuration,
                isServer: false,
                takesCompressed: true,
                events: events
            )) != nil
        else { fatalError("cannot add handlers") }
        let head = ByteBuffer(string: "head")
        sender.sendText(WebSocketText([head] + text.parts, compressed: compressed.moved(by: head.readableBytes)))
        server.embeddedEventLoop.run()
        while let part = try? server.readOutbound(as: ByteBuffer.self) { _ = try? channel.writeInbound(part) }
        let result = box.value
        _ = try? server.finish(acceptAlreadyClosed: true)
        _ = try? channel.finish(acceptAlreadyClosed: true)
        return result == text.parts.reduce(into: head) { $0.writeImmutableBuffer($1) }
    }
}
