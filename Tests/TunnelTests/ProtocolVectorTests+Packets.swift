//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import Testing

@testable import Tunnel
@testable import TunnelProtocol

/// The vectors of frames, packets and plain messages.
extension ProtocolVectorTests {
    static func encoded(_ frame: SessionFrame) -> [UInt8] {
        var buffer = ByteBuffer()
        frame.encode(into: &buffer)
        return Array(buffer.readableBytesView)
    }

    static func frames() throws -> [Vector] {
        let id = StreamID(rawValue: 70)
        let frames: [(String, SessionFrame)] = [
            ("PING", .ping),
            (
                "ACK path 2, delay 1234, packets 90-100, 5-80, 0-2",
                .acknowledgement(.init(path: PathID(rawValue: 2), delay: 1_234, ranges: [90...100, 5...80, 0...2]))
            ),
            ("RESET_STREAM stream 70, code 3, final size 20000", .resetStream(id, code: 3, finalSize: 20_000)),
            ("STOP_SENDING stream 70, code 3", .stopSending(id, code: 3)),
            ("CRYPTO offset 512, data 010203", .crypto(offset: 512, data: ByteBuffer(bytes: [1, 2, 3]))),
            (
                "STREAM stream 70, offset 20000, data 010203, FIN",
                .stream(id, offset: 20_000, data: ByteBuffer(bytes: [1, 2, 3]), isFinal: true)
            ),
            ("MAX_DATA 2000000000", .maximumData(2_000_000_000)),
            ("MAX_STREAM_DATA stream 70, 262144", .maximumStreamData(id, 262_144)),
            ("CONNECTION_CLOSE code 8, reason \"why\"", .connectionClose(code: 8, reason: "why")),
            ("IMMEDIATE_ACK", .immediateAcknowledgement),
            (
                "OPEN_STREAM stream 70, port 443, destination \"example.com\"",
                .openStream(id, StreamRequest(destination: "example.com", port: 443))
            ),
            ("STREAM_OPENED stream 70", .streamOpened(id)),
            (
                "NEW_PATH path 3, \"wss://a.example\"",
                .newPath(SessionPathOffer(path: PathID(rawValue: 3), relay: "wss://a.example"))
            ),
            ("NEW_TICKET lifetime 604800", .newTicket(.sha256(of: [1]), lifetime: 604_800)),
            (
                "DUPLICATE_KEY",
                .duplicateKey(
                    DuplicateKeyReport(
                        fresh: PublicKey(unchecked: .sha256(of: [2])),
                        bodyHash: .sha256(of: [3]),
                        signature: try #require(SchnorrSignature(Array(repeating: 4, count: SchnorrSignature.length)))
                    )
                )
            ),
        ]
        var vectors = frames.map { Vector(name: "frame: \($0)", values: ["frame": Self.hex(Self.encoded($1))]) }
        vectors.append(
            Vector(
                name: "frames: PADDING twice, then STREAM stream 1, offset 0, data up to the end of the packet, no FIN",
                values: ["frames": "00000c0100010203"]
            )
        )
        return vectors
    }

    static func packets(_ secrets: SessionSecrets) throws -> [Vector] {
        let path = PathID(rawValue: 2)
        return [
            try Self.packet("packet of the client", [.ping], secrets.clientKey, nonce: .sha256(of: [2])),
            try Self.packet(
                "packet of the exit",
                [
                    .acknowledgement(.init(path: path, delay: 100, ranges: [0...1])),
                    .streamOpened(StreamID(rawValue: 1)),
                ],
                secrets.exitKey,
                isFromExit: true,
                nonce: .sha256(of: [10])
            ),
        ]
    }

    /// The packet with the number 300 on path 2.
    private static func packet(
        _ name: String,
        _ frames: [SessionFrame],
        _ key: ConversationKey,
        isFromExit: Bool = false,
        nonce: Bytes32
    ) throws -> Vector {
        var buffer = ByteBuffer()
        SessionPacketHeader(path: PathID(rawValue: 2), number: 300).encode(isFromExit: isFromExit, into: &buffer)
        for frame in frames { frame.encode(into: &buffer) }
        let plaintext = Array(buffer.readableBytesView)
        return Vector(
            name: name,
            values: [
                "plaintext": Self.hex(plaintext), "NIP-44 nonce": nonce.hex,
                "content": String(decoding: try key.seal(plaintext, nonce: nonce), as: UTF8.self),
            ]
        )
    }

    /// Messages of plain NIP-74.
    static func messages() -> Vector {
        let connect = NIP74Message(key: Self.uuid, kind: .connect, destination: "x.nostr")
        let data = NIP74Message(
            key: Self.uuid,
            kind: .data,
            payload: .bytes(Array("hello".utf8)),
            destination: "x.nostr"
        )
        return Vector(
            name: "messages of plain NIP-74",
            values: [
                "CONNECT": String(decoding: connect.encoded(), as: UTF8.self),
                "data": String(decoding: data.encoded(), as: UTF8.self),
            ]
        )
    }
}
