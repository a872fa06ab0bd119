//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CByteKernels
import HTTPTransport
import NIOCore
import NIOWebSocket
import Nostr
import NostrCrypto
import TunnelProtocol

/// Each stage of an event's way on its own, beside the sum of the primitives that it cannot do without.
struct StageBenchmark {
    let report: Report
    let own = SecretKey.generate()
    let peer = SecretKey.generate()

    /// Microseconds of the primitives for one packet of a size, by the fastest implementations; nil without them.
    struct Roofline {
        let seal: Double
        let send: Double
        let relay: Double
        let receive: Double

        /// Bytes a second that two cores carry which do nothing else.
        func rate(of payload: Int, cores: Double) -> Double {
            Double(payload) / (self.send + self.relay + self.receive) * 1e6 * cores
        }
    }

    static let payload = 40_960

    func run() throws -> Roofline? {
        let plaintext = (0..<Self.payload).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let conversation = try ConversationKey(secretKey: self.own, publicKey: self.peer.publicKey)
        let sealed = try conversation.seal(plaintext)
        let content = ByteBuffer(bytes: sealed)
        let tags = [Tag("p", ByteString(self.peer.publicKey.hex))]
        func sign() throws -> Event {
            try Event.signed(by: self.own, createdAt: 1_800_000_000, kind: .tunnelMessage, tags: tags, content: content)
        }
        let event = try sign()
        let message = ClientMessage.encodeEvent(event)
        let small = try Event.signed(
            by: self.own,
            createdAt: 1_800_000_000,
            kind: .tunnelMessage,
            tags: tags,
            content: ByteBuffer(bytes: try conversation.seal([UInt8](repeating: 1, count: 64)))
        )
        let smallMessage = ClientMessage.encodeEvent(small)

        self.report.begin(
            "Primitives, fastest known, one packet of 40,960 bytes (event of \(message.readableBytes) bytes)"
        )
        let roofline = try self.roofline(padded: plaintext, event: Array(message.readableBytesView), event)

        self.report.begin("Stages, one packet of 40,960 bytes")
        try self.add("seal (NIP-44)", beside: roofline?.seal) { keep(try conversation.seal(plaintext)) }
        try self.add("open (NIP-44)", beside: roofline?.seal) { keep(try conversation.open(sealed)) }
        try self.add("hash and sign an event") { keep(try sign()) }
        try self.add("hash and verify an event") { try event.verify() }
        try self.add("build its message (JSON)") { keep(ClientMessage.encodeEvent(event)) }
        try self.add("scan its message (JSON)") { keep(try ClientMessage.parse(message, maximumFilters: 1)) }
        try self.add("base64, encode") { keep(Base64.encode(plaintext)) }
        try self.add("base64, decode") { keep(Base64.decode(sealed)) }
        let key: WebSocketMaskingKey = [1, 2, 3, 4]
        var masked = message
        try self.add("mask a frame") { masked.applyWebSocketMask(key) }
        let identifier = SubscriptionID("s") ?? { fatalError("a name") }()
        try self.add("build a delivery") { keep(RelayMessage.encodeEvent(identifier, json: event.json)) }
        try self.add("send: seal, sign, build", beside: roofline?.send) {
            let content = ByteBuffer(bytes: try conversation.seal(plaintext))
            let event = try Event.signed(
                by: self.own,
                createdAt: 1_800_000_000,
                kind: .tunnelMessage,
                tags: tags,
                content: content
            )
            keep(ClientMessage.encodeEvent(event))
        }
        try self.add("relay: scan, verify", beside: roofline?.relay) {
            if case .event(let received) = try ClientMessage.parse(message, maximumFilters: 1) {
                try received.event.verify()
            }
        }
        try self.add("receive a packet: scan, open", beside: roofline?.receive) {
            if case .event(let received) = try ClientMessage.parse(message, maximumFilters: 1) {
                keep(try conversation.open(Array(received.event.content.readableBytesView)))
            }
        }

        self.report.begin("Stages, a small event (\(smallMessage.readableBytes) bytes)")
        try self.add("scan its message") { keep(try ClientMessage.parse(smallMessage, maximumFilters: 1)) }
        try self.add("verify") { try small.verify() }
        try self.add("seal, sign, build") {
            let content = ByteBuffer(bytes: try conversation.seal([UInt8](repeating: 1, count: 64)))
            keep(
                ClientMessage.encodeEvent(
                    try Event.signed(by: self.own, createdAt: 1, kind: .tunnelMessage, tags: tags, content: content)
                )
            )
        }
        try self.add("keys: agree on a conversation") {
            keep(try ConversationKey(secretKey: self.own, publicKey: self.peer.publicKey))
        }

        self.report.begin("Session state machine, two ends without sealing or relay")
        for streams in [1, 10, 100, 1_000] {
            let bytes = 20_000_000
            let values = (0..<3).map { _ in
                SessionLoop(streams: streams).run(bytes: bytes) * 1e6 / Double(bytes) * 40_960
            }
            self.report.add("40,960 bytes, \(streams) streams", "µs", values)
        }
        return roofline
    }

    private func add(_ name: String, beside reference: Double? = nil, _ body: () throws -> Void) throws {
        let values = try microseconds { try body() }
        let ratio = reference.map { $0 / Distribution(values).median }
        self.report.add(name, "µs", values, reference: "of the primitives' speed", ratio: ratio)
    }

    private func roofline(padded: [UInt8], event: [UInt8], _ signed: Event) throws -> Roofline? {
        guard let fast = FastPrimitives() else {
            say("  no libcrypto.so.3 here: no roofline")
            return nil
        }
        var output = [UInt8](repeating: 0, count: padded.count)
        var base64 = [UInt8](repeating: 0, count: padded.count * 4 / 3 + 8)
        func time(_ name: String, _ body: () throws -> Void) rethrows -> Double {
            let values = try microseconds { try body() }
            self.report.add(name, "µs", values)
            return Distribution(values).median
        }
        let chacha = time("ChaCha20 (libcrypto)") { fast.chacha20(padded, into: &output) }
        let hmac = time("HMAC-SHA256 (libcrypto)") { fast.hmac(padded) }
        let hash = time("SHA-256 of the event (libcrypto)") { fast.sha256(event) }
        let encode = time("base64, encode (AVX2)") { keep(nws_base64_encode(padded, padded.count, &base64)) }
        let decode = time("base64, decode (AVX2)") { keep(nws_base64_decode(base64, padded.count * 4 / 3, &output)) }
        let scan = time("scan of the event (AVX2)") { keep(nws_json_plain_prefix(base64, padded.count * 4 / 3)) }
        let digest = Bytes32.sha256(of: event)
        let signature = try self.own.sign(digest)
        let sign = try time("sign (libsecp256k1)") { keep(try self.own.sign(digest)) }
        let verify = time("verify (libsecp256k1)") { keep(self.own.publicKey.verify(signature, of: digest)) }
        return Roofline(
            seal: chacha + hmac + encode,
            send: chacha + hmac + encode + hash + sign,
            relay: scan + hash + verify,
            // As NIP-01 has it: whoever reads verifies.
            receive: scan + hash + verify + decode + hmac + chacha
        )
    }
}
