//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOHTTP1
import Testing

@testable import HTTPTransport

@Suite("Compressed messages")
struct DeflatedMessageTests {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    private static func base64(_ count: Int, only characters: [UInt8] = alphabet) -> [UInt8] {
        (0..<count).map { _ in characters.randomElement() ?? 65 }
    }

    /// A message with base64 characters between two other parts.
    private static func message(_ content: [UInt8], head: Int = 300, tail: Int = 140) -> (ByteBuffer, Range<Int>) {
        var text = ByteBuffer(repeating: UInt8(ascii: "{"), count: head)
        text.writeBytes(content)
        text.writeRepeatingByte(UInt8(ascii: "}"), count: tail)
        return (text, head..<(head + content.count))
    }

    private static func joined(_ parts: [ByteBuffer]) -> ByteBuffer {
        parts.reduce(into: ByteBuffer()) { $0.writeImmutableBuffer($1) }
    }

    @Test(
        "a message is restored, also by zlib",
        arguments: [256, 257, 258, 259, 263, 264, 1_000, 21_848, 87_384],
        [alphabet, Array("z".utf8), Array("zA".utf8), Array("+".utf8)]
    )
    func roundTrip(count: Int, characters: [UInt8]) throws {
        let (text, range) = Self.message(Self.base64(count, only: characters))
        let compressed = try #require(DeflatedMessage.compress(range, of: text))
        #expect(compressed.range == range)
        let parts = try #require(DeflatedMessage.encode(WebSocketText([text], compressed: compressed)))
        let payload = Self.joined(parts)
        let decoded = try DeflatedMessage.decode(payload, limit: text.readableBytes)
        #expect(decoded.text == text && decoded.compressed.range == range)
        #expect(decoded.compressed.block == compressed.block)
        #expect(try MessageInflater(keepsContext: false).inflate(payload, limit: text.readableBytes) == text)
        // A byte less is not enough for either.
        #expect(throws: (any Error).self) { try DeflatedMessage.decode(payload, limit: text.readableBytes - 1) }
        #expect(throws: MessageInflater.Failure.tooLong) {
            try MessageInflater(keepsContext: false).inflate(payload, limit: text.readableBytes - 1)
        }
    }

    @Test("a relay passes the compressed part on in another message, wherever its buffers end")
    func passedOn() throws {
        let (text, range) = Self.message(Self.base64(5_000))
        let compressed = try #require(DeflatedMessage.compress(range, of: text))
        for cut in [0, 10, 300, 301, 4_000, 5_299, 5_300, 5_301, text.readableBytes] {
            let first = try #require(text.getSlice(at: 0, length: cut))
            let second = try #require(text.getSlice(at: cut, length: text.readableBytes - cut))
            let head = ByteBuffer(string: "[\"EVENT\",\"other\",")
            let moved = compressed.moved(by: head.readableBytes)
            let parts = [head, first, second, ByteBuffer(string: "]")]
            let payload = Self.joined(try #require(DeflatedMessage.encode(WebSocketText(parts, compressed: moved))))
            #expect(try DeflatedMessage.decode(payload, limit: 10_000).text == Self.joined(parts))
        }
        #expect(compressed.moved(by: -301) == nil)
    }

    @Test("content that is short, or not base64, is not compressed; padding is left out")
    func unsuitable() throws {
        let (short, place) = Self.message(Self.base64(255))
        #expect(DeflatedMessage.compress(place, of: short) == nil)
        for character in ["-", "\"", "\\", "{", "\u{7f}"] {
            var content = Self.base64(1_000)
            content[content.count / 2] = Array(character.utf8)[0]
            let (text, range) = Self.message(content)
            #expect(DeflatedMessage.compress(range, of: text) == nil)
        }
        for (padding, count) in [("=", 1), ("==", 2), ("===", -1)] {
            let (text, range) = Self.message(Self.base64(1_000) + Array(padding.utf8))
            #expect(DeflatedMessage.compress(range, of: text)?.range.count == (count < 0 ? nil : 1_000))
        }
        let (text, _) = Self.message(Self.base64(1_000))
        #expect(DeflatedMessage.compress(600..<9_000, of: text) == nil)
        let (long, range) = Self.message(Self.base64(1_000), head: 70_000)
        let compressed = DeflatedMessage.compress(range, of: long)
        #expect(DeflatedMessage.encode(WebSocketText([long], compressed: compressed)) == nil)
    }

    @Test("the useful share of an event is what six bits for a character leave")
    func share() throws {
        // What surrounds the content of an event, and what NIP-44 adds to the plaintext.
        let (event, sealed) = (432, 67)
        for (plaintext, share) in [(65_536, 0.989), (16_384, 0.966), (4_096, 0.883)] {
            let characters = (plaintext + sealed + 2) / 3 * 4
            let (text, range) = Self.message(Self.base64(characters), head: event - 140)
            let compressed = try #require(DeflatedMessage.compress(range, of: text))
            let parts = try #require(DeflatedMessage.encode(WebSocketText([text], compressed: compressed)))
            #expect(Double(plaintext) / Double(Self.joined(parts).readableBytes) > share)
        }
    }

    @Test("a changed or cut message is a message of another form, or another text of at most the limit")
    func changed() throws {
        let (text, range) = Self.message(Self.base64(600), head: 20, tail: 20)
        let compressed = try #require(DeflatedMessage.compress(range, of: text))
        let parts = try #require(DeflatedMessage.encode(WebSocketText([text], compressed: compressed)))
        let payload = Array(Self.joined(parts).readableBytesView)
        for length in 0..<payload.count {
            #expect(throws: DeflatedMessage.DecodingError.self) {
                try DeflatedMessage.decode(ByteBuffer(bytes: payload[..<length]), limit: 700)
            }
        }
        for index in payload.indices {
            var changed = payload
            changed[index] ^= 1 << UInt8(index % 8)
            guard let decoded = try? DeflatedMessage.decode(ByteBuffer(bytes: changed), limit: 700) else { continue }
            // Both decoders agree.
            let other = try MessageInflater(keepsContext: false).inflate(ByteBuffer(bytes: changed), limit: 700)
            #expect(decoded.text == other && other.readableBytes <= 700)
        }
    }

    // MARK: zlib

    @Test("the examples of RFC 7692 are decompressed")
    func examples() throws {
        let hello = ByteBuffer(string: "Hello")
        for bytes in [
            [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ] as [[UInt8]] {
            for keepsContext in [false, true] {
                let inflater = MessageInflater(keepsContext: keepsContext)
                #expect(try inflater.inflate(ByteBuffer(bytes: bytes), limit: 5) == hello)
            }
        }
        // The second message refers to the first one.
        let inflater = MessageInflater(keepsContext: true)
        _ = try inflater.inflate(ByteBuffer(bytes: [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]), limit: 5)
        let second = ByteBuffer(bytes: [0xf2, 0x00, 0x11, 0x00, 0x00])
        #expect(try inflater.inflate(second, limit: 5) == hello)
        #expect(throws: MessageInflater.Failure.invalid) {
            try MessageInflater(keepsContext: false).inflate(second, limit: 5)
        }
    }

    @Test("a message that would become very long ends at the limit")
    func bomb() throws {
        // Zeros, of which each pair of bits repeats 258: the fixed codes of one literal, and of length 258 at distance 1.
        var bits: [UInt8] = [0, 1, 0] + [0, 0, 1, 1, 0, 0, 0, 0]
        for _ in 0..<40_000 { bits += [1, 1, 0, 0, 0, 1, 0, 1] + [0, 0, 0, 0, 0] }
        bits += [0, 0, 0, 0, 0, 0, 0]
        bits += [0, 0, 0] + Array(repeating: 0, count: (8 - (bits.count + 3) % 8) % 8)
        let bytes = stride(from: 0, to: bits.count, by: 8).map { start in
            bits[start..<min(start + 8, bits.count)].enumerated().reduce(UInt8(0)) {
                $0 | $1.element << UInt8($1.offset)
            }
        }
        let inflater = MessageInflater(keepsContext: false)
        #expect(try inflater.inflate(ByteBuffer(bytes: bytes), limit: 20 << 20).readableBytes == 40_000 * 258 + 1)
        #expect(throws: MessageInflater.Failure.tooLong) {
            try inflater.inflate(ByteBuffer(bytes: bytes), limit: 1 << 20)
        }
    }

    @Test("a message that ends inside of a block is invalid")
    func truncated() throws {
        for bytes in [[0x00, 0x14, 0x00, 0xeb, 0xff, 0x61, 0x62], [0xf2, 0x48, 0xcd]] as [[UInt8]] {
            #expect(throws: MessageInflater.Failure.invalid) {
                try MessageInflater(keepsContext: false).inflate(ByteBuffer(bytes: bytes), limit: 1_000)
            }
        }
    }

    // MARK: Negotiation

    @Test(
        "a server accepts the first offer that it understands",
        arguments: [
            ("permessage-deflate", ""),
            ("permessage-deflate; client_max_window_bits", ""),
            ("permessage-deflate; client_max_window_bits=10; server_no_context_takeover", ""),
            ("x-webkit-deflate-frame, permessage-deflate;server_max_window_bits=\"9\"", "; server_max_window_bits=9"),
            (
                "permessage-deflate; unknown, Permessage-Deflate; server_max_window_bits=15",
                "; server_max_window_bits=15"
            ),
            ("permessage-deflate; server_max_window_bits", nil),
            ("permessage-deflate; server_max_window_bits=16", nil),
            ("permessage-deflate; server_max_window_bits=08", nil),
            ("permessage-deflate; client_max_window_bits=7", nil),
            ("permessage-deflate; server_no_context_takeover=1", nil),
            ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", nil),
            ("permessage-deflate;", nil), ("", nil), (",;=", nil), ("other", nil),
        ] as [(String, String?)]
    )
    func server(offer: String, more: String?) {
        let answer = DeflateExtension.accept(["Sec-WebSocket-Extensions": offer])?.answer
        let expected = more.map { "permessage-deflate; server_no_context_takeover; client_no_context_takeover\($0)" }
        #expect(answer == expected)
    }

    @Test(
        "a client checks the answer to its offer",
        arguments: [
            (nil, .some(nil)),
            ("permessage-deflate; server_no_context_takeover", .some(false)),
            ("permessage-deflate; client_no_context_takeover; server_max_window_bits=8", .some(true)),
            ("permessage-deflate; client_max_window_bits=15", nil),
            ("permessage-deflate, permessage-deflate", nil),
            ("permessage-deflate; unknown=1", nil), ("other", nil),
        ] as [(String?, Bool??)]
    )
    func client(answer: String?, keepsContext: Bool??) {
        let headers: HTTPHeaders = answer.map { ["Sec-WebSocket-Extensions": $0] } ?? [:]
        do {
            let accepted = try DeflateExtension.accepted(headers)
            #expect(.some(accepted?.peerKeepsContext) == keepsContext)
        } catch {
            #expect(keepsContext == nil)
        }
    }
}
