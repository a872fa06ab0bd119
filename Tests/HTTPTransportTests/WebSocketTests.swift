//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket
import Testing

@Suite("WebSocket", .timeLimit(.minutes(5)))
struct WebSocketTests {
    @Test("masking eight bytes at a time gives the same result as masking byte by byte")
    func masking() {
        for length in 0..<40 {
            var buffer = ByteBuffer(bytes: (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 7) })
            let key: WebSocketMaskingKey = [1, 0x80, 0xff, 3]
            buffer.applyWebSocketMask(key)
            let expected = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 7) ^ key[$0 % 4] }
            #expect(Array(buffer.readableBytesView) == expected)
        }
    }

    /// Starts a server that echoes every WebSocket message sent to `/echo`.
    static func echoServer(_ change: (inout HTTPServer.Configuration) -> Void = { _ in }) async throws -> HTTPServer {
        var configuration = HTTPServer.Configuration(host: "127.0.0.1", port: 0)
        change(&configuration)
        return try await HTTPServer.start(
            configuration,
            on: MultiThreadedEventLoopGroup.singleton,
            logger: Logger(label: "test"),
            route: { _ in .text(.ok, "hello") },
            upgrade: { request, channel in
                guard request.path == "/echo" else { return nil }
                let box = NIOLoopBoundBox<WebSocket?>(nil, eventLoop: channel.eventLoop)
                return HTTPServer.WebSocketAcceptor(
                    events: WebSocket.Events(onMessage: { box.value?.sendText($0) }, onClose: { _ in box.value = nil }),
                    onOpen: { box.value = $0 }
                )
            }
        )
    }

    static func target(_ server: HTTPServer, path: String = "/echo") -> WebSocketClient.Target {
        WebSocketClient.Target(
            addresses: [server.localAddress],
            host: "127.0.0.1",
            authority: "127.0.0.1",
            requestTarget: path,
            tls: nil
        )
    }

    /// Connects; returns the socket and a stream of its messages, which ends with the reason for the close.
    static func connect(
        _ target: WebSocketClient.Target,
        configuration: WebSocketConfiguration = WebSocketConfiguration()
    ) async throws -> (WebSocket, AsyncStream<Result<ByteBuffer, WebSocketCloseReason>>) {
        let (stream, continuation) = AsyncStream<Result<ByteBuffer, WebSocketCloseReason>>.makeStream()
        let socket = try await WebSocketClient.connect(
            to: target,
            on: MultiThreadedEventLoopGroup.singleton.next(),
            configuration: configuration,
            events: WebSocket.Events(
                onMessage: { continuation.yield(.success($0)) },
                onClose: {
                    continuation.yield(.failure($0))
                    continuation.finish()
                }
            )
        ).get()
        return (socket, stream)
    }

    @Test(
        "messages of every frame length encoding are echoed unchanged",
        arguments: [0, 1, 125, 126, 65_535, 65_536, 900_000]
    )
    func echo(length: Int) async throws {
        let server = try await Self.echoServer()
        let (socket, messages) = try await Self.connect(Self.target(server))
        let text = ByteBuffer(bytes: (0..<length).map { UInt8(ascii: "a") + UInt8($0 % 26) })
        try await socket.eventLoop.submit {
            // Send one message as two buffers; the relay also builds messages from several buffers.
            let half = text.getSlice(at: 0, length: length / 2) ?? ByteBuffer()
            let rest = text.getSlice(at: length / 2, length: length - length / 2) ?? ByteBuffer()
            socket.sendText([half, rest])
        }.get()
        var iterator = messages.makeAsyncIterator()
        #expect(try await iterator.next()?.get() == text)
        try await server.stopListening()
    }

    @Test("a message longer than the limit closes the connection with code 1009")
    func tooLong() async throws {
        let server = try await Self.echoServer { $0.webSocket.maximumMessageLength = 1_000 }
        let (socket, messages) = try await Self.connect(Self.target(server))
        try await socket.eventLoop.submit { socket.sendText(ByteBuffer(repeating: 65, count: 1_001)) }.get()
        var iterator = messages.makeAsyncIterator()
        let end = await iterator.next()
        #expect(end == .failure(.closedByPeer(code: 1009, reason: "")))
        try await server.stopListening()
    }

    @Test("text that is not UTF-8 closes the connection with code 1007")
    func invalidUTF8() async throws {
        let server = try await Self.echoServer()
        let (socket, messages) = try await Self.connect(Self.target(server))
        try await socket.eventLoop.submit { socket.sendText(ByteBuffer(bytes: [0xc3, 0x28])) }.get()
        var iterator = messages.makeAsyncIterator()
        #expect(await iterator.next() == .failure(.closedByPeer(code: 1007, reason: "")))
        try await server.stopListening()
    }

    @Test("connecting fails if the server does not upgrade to WebSocket")
    func refused() async throws {
        let server = try await Self.echoServer()
        await #expect(throws: WebSocketClient.ConnectError.self) {
            _ = try await Self.connect(Self.target(server, path: "/"))
        }
        try await server.stopListening()
    }

    @Test("a peer that does not answer pings times out")
    func deadPeer() async throws {
        // The server completes the handshake and then goes silent, so only unanswered pings reveal that it is dead.
        let silent = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(SilentAfterUpgrade())
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        var configuration = WebSocketConfiguration()
        configuration.pingInterval = .milliseconds(50)
        let target = WebSocketClient.Target(
            addresses: [try #require(silent.localAddress)],
            host: "127.0.0.1",
            authority: "127.0.0.1",
            requestTarget: "/",
            tls: nil
        )
        let (_, messages) = try await Self.connect(target, configuration: configuration)
        var iterator = messages.makeAsyncIterator()
        #expect(await iterator.next() == .failure(.timedOut))
        try await silent.close()
    }

    @Test("connections beyond the limit are rejected")
    func connectionLimit() async throws {
        let server = try await Self.echoServer { $0.maximumConnections = 1 }
        let (socket, _) = try await Self.connect(Self.target(server))
        await #expect(throws: (any Error).self) { _ = try await Self.connect(Self.target(server)) }
        #expect(server.connectionCount == 1)
        try await socket.eventLoop.submit { socket.abort() }.get()
        try await server.stopListening()
    }
}

/// Completes the WebSocket handshake and then never sends another byte.
private final class SilentAfterUpgrade: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private var request = ""

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = Self.unwrapInboundIn(data)
        self.request += buffer.readString(length: buffer.readableBytes) ?? ""
        guard self.request.hasSuffix("\r\n\r\n"),
            let line = self.request.split(separator: "\r\n").first(where: {
                $0.lowercased().hasPrefix("sec-websocket-key:")
            })
        else { return }
        let key = line.split(separator: ":", maxSplits: 1)[1].trimmingPrefix(" ")
        let accept = WebSocketAcceptKey.answer(to: String(key))
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + "Sec-WebSocket-Accept: \(accept)\r\n\r\n"
        self.request = ""
        context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(string: answer)), promise: nil)
    }
}
