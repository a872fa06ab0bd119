//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NIOWebSocket
import Nostr
import NostrCrypto

/// One step of an event's way, with inputs that are the same in every run.
struct Stage {
    let name: String
    /// The primitives that it cannot do without.
    let primitives: KeyPath<StageBenchmark.Roofline, Double>?
    let run: () throws -> Void

    /// Stages that belong together in a table.
    struct Group {
        let title: String
        let stages: [Stage]
    }

    /// All of them, and what they work on.
    struct Catalog {
        let plaintext: [UInt8]
        let event: Event
        let message: ByteBuffer
        let large: Group
        let small: Group
        /// Both ends of a session without sealing or relay. The table has more of them.
        let session: [Stage]
    }

    private init(
        _ name: String,
        beside primitives: KeyPath<StageBenchmark.Roofline, Double>? = nil,
        _ run: @escaping () throws -> Void
    ) {
        self.name = name
        self.primitives = primitives
        self.run = run
    }

    static func all() throws -> Catalog {
        let own = try SecretKey(Bytes32.sha256(of: [1]))
        let peer = try SecretKey(Bytes32.sha256(of: [2])).publicKey
        let plaintext = (0..<StageBenchmark.payload).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let conversation = try ConversationKey(secretKey: own, publicKey: peer)
        let sealed = try conversation.seal(plaintext)
        let tags = [Tag("p", ByteString(peer.hex))]
        func sign(_ content: [UInt8]) throws -> Event {
            try Event.signed(
                by: own,
                createdAt: 1_800_000_000,
                kind: .tunnelMessage,
                tags: tags,
                content: ByteBuffer(bytes: content)
            )
        }
        let event = try sign(sealed)
        let message = ClientMessage.encodeEvent(event)
        let short = [UInt8](repeating: 1, count: 64)
        let small = try sign(try conversation.seal(short))
        let smallMessage = ClientMessage.encodeEvent(small)
        var masked = message
        guard let subscription = SubscriptionID("s") else { fatalError("a name") }

        let large = Group(
            title: "Stages, one packet of 40,960 bytes",
            stages: [
                Stage("seal (NIP-44)", beside: \.seal) { keep(try conversation.seal(plaintext)) },
                Stage("open (NIP-44)", beside: \.seal) { keep(try conversation.open(sealed)) },
                Stage("hash and sign an event") { keep(try sign(sealed)) },
                Stage("hash and verify an event") { try event.verify() },
                Stage("build its message (JSON)") { keep(ClientMessage.encodeEvent(event)) },
                Stage("scan its message (JSON)") { keep(try ClientMessage.parse(message, maximumFilters: 1)) },
                Stage("base64, encode") { keep(Base64.encode(plaintext)) },
                Stage("base64, decode") { keep(Base64.decode(sealed)) },
                Stage("mask a frame") { masked.applyWebSocketMask([1, 2, 3, 4]) },
                Stage("build a delivery") { keep(RelayMessage.encodeEvent(subscription, json: event.json)) },
                Stage("send: seal, sign, build", beside: \.send) {
                    keep(ClientMessage.encodeEvent(try sign(try conversation.seal(plaintext))))
                },
                Stage("relay: scan, verify", beside: \.relay) {
                    if case .event(let received) = try ClientMessage.parse(message, maximumFilters: 1) {
                        try received.event.verify()
                    }
                },
                Stage("receive a packet: scan, open", beside: \.receive) {
                    if case .event(let received) = try ClientMessage.parse(message, maximumFilters: 1) {
                        keep(try conversation.open(Array(received.event.content.readableBytesView)))
                    }
                },
            ]
        )
        let few = Group(
            title: "Stages, a small event (\(smallMessage.readableBytes) bytes)",
            stages: [
                Stage("scan its message") { keep(try ClientMessage.parse(smallMessage, maximumFilters: 1)) },
                Stage("verify") { try small.verify() },
                Stage("seal, sign, build") {
                    keep(ClientMessage.encodeEvent(try sign(try conversation.seal(short))))
                },
                Stage("keys: agree on a conversation") {
                    keep(try ConversationKey(secretKey: own, publicKey: peer))
                },
            ]
        )
        let session = [1, 100].map { streams in
            Stage("session: 1 MB over \(streams) stream\(streams == 1 ? "" : "s")") {
                keep(SessionLoop(streams: streams).run(bytes: 1_000_000))
            }
        }
        return Catalog(
            plaintext: plaintext,
            event: event,
            message: message,
            large: large,
            small: few,
            session: session
        )
    }
}
