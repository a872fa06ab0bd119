//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOEmbedded
import NIOHTTP1
import Tunnel
import TunnelProtocol

/// Fuzzes requests to the HTTP proxy, and checks how plain requests are forwarded.
enum HTTPProxyFuzzer {
    /// One request of a connection, as the receiver parses it.
    private struct Request {
        var head: HTTPRequestHead
        var body = ByteBuffer()
        var isComplete = false
    }

    static func run(_ input: [UInt8]) {
        let received = Self.requests(ByteBuffer(bytes: input), size: max(1, Int(input.last ?? 1)))
        guard let first = received.first, let request = try? HTTPProxyRequest(first.head) else { return }
        precondition(request.target.port > 0)
        guard let plain = request.plain, first.isComplete else { return }
        var forwarded = plain.head
        forwarded.writeImmutableBuffer(plain.encoded(first.body))
        forwarded.writeImmutableBuffer(plain.encodedEnd)
        // The service must see one request with the same body, and no second, smuggled request.
        let sent = Self.requests(forwarded, size: forwarded.readableBytes)
        precondition(sent.count == 1, "\(sent.count) requests")
        guard let only = sent.first else { return }
        precondition(only.isComplete, "incomplete request")
        precondition(only.head.method == first.head.method && only.body == first.body)
        precondition(only.head.headers["host"].count == 1)
        for field in ["proxy-authorization", "proxy-connection"] {
            precondition(only.head.headers[canonicalForm: field].isEmpty)
        }
        // Proxy-Connection asks for the same in older clients.
        if first.head.headers[canonicalForm: "proxy-connection"].isEmpty {
            precondition(only.head.isKeepAlive == first.head.isKeepAlive)
        }
    }

    /// Parses requests up to the first error, in pieces of `size` bytes.
    private static func requests(_ bytes: ByteBuffer, size: Int) -> [Request] {
        let channel = EmbeddedChannel(
            handler: ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes))
        )
        defer { _ = try? channel.finish(acceptAlreadyClosed: true) }
        var requests: [Request] = []
        var rest = bytes
        while let piece = rest.readSlice(length: min(size, rest.readableBytes)), piece.readableBytes > 0 {
            guard (try? channel.writeInbound(piece)) != nil else { break }
        }
        while let part = try? channel.readInbound(as: HTTPServerRequestPart.self) {
            switch part {
            case .head(let head): requests.append(Request(head: head))
            case .body(let body): requests[requests.count - 1].body.writeImmutableBuffer(body)
            case .end: requests[requests.count - 1].isComplete = true
            }
        }
        return requests
    }
}
