//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NIOWebSocket
import Nostr
import NostrCrypto
import TunnelProtocol

/// One step in the processing of an event, with the same input in every run.
struct Stage {
    let name: String
    /// The time that the primitives of this stage take, for comparison. Nil if the stage is not compared.
    let primitives: KeyPath<StageBenchmark.Roofline, Double>?
    let run: () throws -> Void

    /// Stages that are reported as one table.
    struct Group {
        let title: String
        let stages: [Stage]
    }

    /// All stages and the data that they work on.
    struct Catalog {
        let plaintext: [UInt8]
        let event: Event
        let message: ByteBuffer
        let large: Group
        let small: Group
        /// Both ends of a session, without a relay, and without encryption except in datagrams, for `--stage`. ``StageBenchmark`` measures
        /// them with more numbers of streams.
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

    /// Returns the canonical form of an event, whose hash is the event's id (NIP-01).
    private static func canonical(_ event: Event) -> [UInt8] {
        var buffer = ByteBuffer()
        event.writeCanonical(into: &buffer)
        return Array(buffer.readableBytesView)
    }

    /// Returns the frames of a typical packet of a download: an acknowledgement, credit, and data of a stream.
    private static func packet(_ plaintext: [UInt8]) -> ByteBuffer {
        let path = PathID(rawValue: 0)
        let stream = StreamID(rawValue: 9)
        let ranges: [ClosedRange<UInt64>] = [120_010...120_020, 119_000...120_000]
        let data = ByteBuffer(bytes: plaintext)
        var buffer = ByteBuffer()
        for frame in [
            SessionFrame.acknowledgement(.init(path: path, delay: 400, ranges: ranges)),
            .maximumData(90_000_000),
            .maximumStreamData(stream, 80_000_000),
            .stream(stream, offset: 70_000_000, data: data, isFinal: false),
        ] {
            frame.encode(into: &buffer)
        }
        return buffer
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
        guard let subscription = SubscriptionID("s") else { fatalError("invalid subscription id") }

        let canonical = Self.canonical(event)
        let plain = ByteBuffer(bytes: plaintext)
        let packet = Self.packet(plaintext)
        let frames = try SessionFrameDecoder.decode(packet)

        let large = Group(
            title: "Stages, one packet of 40,960 bytes",
            stages: [
                Stage("seal (NIP-44)", beside: \.seal) { keep(try conversation.seal(plaintext)) },
                Stage("open (NIP-44)", beside: \.seal) { keep(try conversation.open(sealed)) },
                Stage("id: hash an event's canonical form") { keep(Bytes32.sha256(of: canonical)) },
                Stage("sign an id") { keep(try own.sign(event.id.bytes)) },
                Stage("verify a signature") { keep(own.publicKey.verify(event.signature, of: event.id.bytes)) },
                Stage("hash and sign an event") { keep(try sign(sealed)) },
                Stage("hash and verify an event") { try event.verify() },
                Stage("build its message (JSON)") { keep(ClientMessage.encodeEvent(event)) },
                Stage("scan its message (JSON)") { keep(try ClientMessage.parse(message, maximumFilters: 1)) },
                Stage("base64, encode") { keep(Base64.encode(plaintext)) },
                Stage("base64, decode") { keep(Base64.decode(sealed)) },
                Stage("mask a frame") { masked.applyWebSocketMask([1, 2, 3, 4]) },
                Stage("frames, encode") {
                    var buffer = ByteBuffer()
                    buffer.reserveCapacity(packet.readableBytes)
                    for frame in frames { frame.encode(into: &buffer) }
                    keep(buffer)
                },
                Stage("frames, decode") { keep(try SessionFrameDecoder.decode(packet)) },
                // The relay does not run this for deliveries: it shares one buffer of the event between subscribers.
                Stage("encode EVENT for a client (JSON)") {
                    keep(RelayMessage.encodeEvent(subscription, json: event.json))
                },
                Stage("send: seal, sign, build", beside: \.send) {
                    keep(
                        try SealedEventMessage(
                            plain,
                            conversation: conversation,
                            by: own,
                            createdAt: 1_800_000_000,
                            kind: .tunnelMessage,
                            tags: tags
                        )
                    )
                },
                Stage("relay: scan, verify", beside: \.relay) {
                    if case .event(let received) = try ClientMessage.parse(message, maximumFilters: 1) {
                        try received.event.verify()
                    }
                },
                Stage("receive a packet: scan, open", beside: \.receive) {
                    if case .event(let received) = try ClientMessage.parse(message, maximumFilters: 1) {
                        let content = received.event.content
                        var opened = ByteBuffer()
                        let room = NIP44.maximumLength(ofPayload: content.readableBytes)
                        try opened.writeWithOutputRawSpan(minimumWritableBytes: room) { output throws(NIP44Error) in
                            try conversation.open(content.readableBytesSpan, to: &output)
                        }
                        keep(opened)
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
        let direct = Stage("session: 1 MB in datagrams") {
            keep(SessionLoop(streams: 1, isDirect: true).run(bytes: 1_000_000))
        }
        return Catalog(
            plaintext: plaintext,
            event: event,
            message: message,
            large: large,
            small: few,
            session: session + [direct]
        )
    }
}
