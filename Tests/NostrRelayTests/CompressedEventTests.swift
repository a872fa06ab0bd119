//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore
import NIOPosix
import Nostr
import NostrCrypto
import Testing

@testable import NostrRelay

@Suite("Compressed events", .timeLimit(.minutes(1)))
struct CompressedEventTests {
    private static let kind: UInt16 = 28_333

    /// A connection to a relay, and the text messages that it receives.
    private struct Client {
        let socket: WebSocket
        private let messages: AsyncStream<WebSocketText>

        init(_ relay: RelayServer, compresses: Bool = true) async throws {
            let (stream, continuation) = AsyncStream<WebSocketText>.makeStream()
            var configuration = WebSocketConfiguration()
            configuration.compresses = compresses
            var events = WebSocket.Events(onMessage: { _ in }, onClose: { _ in continuation.finish() })
            events.onText = { continuation.yield($0) }
            let target = WebSocketClient.Target(
                addresses: [relay.localAddress],
                host: "127.0.0.1",
                authority: "127.0.0.1",
                requestTarget: "/",
                tls: nil
            )
            let loop = MultiThreadedEventLoopGroup.singleton.next()
            self.socket = try await WebSocketClient.connect(
                to: target,
                on: loop,
                configuration: configuration,
                events: events
            ).get()
            self.messages = stream
        }

        func send(_ text: String) async throws {
            let socket = self.socket
            try await socket.eventLoop.submit { socket.sendText(ByteBuffer(string: text)) }.get()
        }

        /// Returns the next message that starts with `start`.
        func next(_ start: String) async throws -> WebSocketText {
            for await message in self.messages {
                if String(buffer: message.parts[0]).hasPrefix(start) { return message }
            }
            throw MemoryClient.Failure.notAFrame
        }
    }

    private static func event(_ author: SecretKey, to recipient: PublicKey) throws -> Event {
        let content = Base64.encode((0..<6_000).map { _ in UInt8.random(in: 0...255) })
        return try Event.signed(
            by: author,
            createdAt: RelayClock.system.secondsSince1970(),
            kind: EventKind(rawValue: Self.kind),
            tags: [Tag("p", ByteString(recipient.hex))],
            content: ByteBuffer(bytes: content)
        )
    }

    @Test("the relay passes on the compressed content, and the plain text to a client that does not take it")
    func passedOn() async throws {
        let relay = try await RelayServer.start(
            RelayConfiguration(host: "127.0.0.1", port: 0),
            on: MultiThreadedEventLoopGroup.singleton,
            logger: Logger(label: "test")
        )
        let recipient = SecretKey.generate().publicKey
        let subscribers = [try await Client(relay), try await Client(relay, compresses: false)]
        for index in subscribers.indices {
            try await subscribers[index].send(
                "[\"REQ\",\"s\",{\"kinds\":[\(Self.kind)],\"#p\":[\"\(recipient.hex)\"]}]"
            )
            _ = try await subscribers[index].next("[\"EOSE\"")
        }
        let publisher = try await Client(relay)
        let socket = publisher.socket
        // With a space, the relay does not know at which place the content is in other messages.
        for (head, isPassedOn) in [("[\"EVENT\",", true), ("[\"EVENT\", ", false)] {
            let event = try Self.event(.generate(), to: recipient)
            let message = ByteBuffer(string: "\(head)\(String(buffer: event.json))]")
            let end = message.readableBytes - ClientMessage.lengthAfterContent
            let content = (end - event.content.readableBytes)..<end
            try await socket.eventLoop.submit { socket.sendText(message, compressing: content) }.get()
            let expected = ByteBuffer(string: "[\"EVENT\",\"s\",\(String(buffer: event.json))]")
            let compressed = try await subscribers[0].next("[\"EVENT\"")
            #expect(compressed.parts == [expected])
            #expect((compressed.compressed != nil) == isPassedOn)
            let plain = try await subscribers[1].next("[\"EVENT\"")
            #expect(plain.parts == [expected] && plain.compressed == nil)
        }
        // An event with the ID of another one, in the same read, must not change what subscribers get.
        let genuine = try Self.event(.generate(), to: recipient)
        let other = try Self.event(.generate(), to: recipient)
        let forged = Event(
            id: genuine.id,
            pubkey: genuine.pubkey,
            createdAt: genuine.createdAt,
            kind: genuine.kind,
            tags: genuine.tags,
            content: other.content,
            signature: genuine.signature
        )
        try await socket.eventLoop.submit {
            for event in [genuine, forged] {
                let message = ClientMessage.encodeEvent(event)
                let end = message.readableBytes - ClientMessage.lengthAfterContent
                socket.sendText(message, compressing: (end - event.content.readableBytes)..<end)
            }
        }.get()
        for subscriber in subscribers {
            let received = try await subscriber.next("[\"EVENT\"")
            #expect(received.parts == [ByteBuffer(string: "[\"EVENT\",\"s\",\(String(buffer: genuine.json))]")])
        }
        try await relay.stop()
    }
}
