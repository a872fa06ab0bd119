//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import TunnelProtocol

@Suite("The end of an HTTP response")
struct HTTPResponseFramerTests {
    /// How a framer sees a response that is followed by other bytes.
    private enum End: Equatable {
        /// After this many bytes.
        case at(Int)
        case upgraded
        /// The framer knows no end.
        case unknown
    }

    private static func end(of text: String, isHead: Bool = false, allowsUpgrade: Bool = false, size: Int) -> End {
        var framer = HTTPResponseFramer(isHead: isHead, allowsUpgrade: allowsUpgrade)
        let bytes = Array(text.utf8)
        var end = 0
        for start in stride(from: 0, to: bytes.count, by: size) where !framer.isComplete {
            end += framer.receive(ByteBuffer(bytes: bytes[start..<min(start + size, bytes.count)]))
        }
        if framer.isUpgraded { return .upgraded }
        return framer.isComplete ? .at(end) : .unknown
    }

    @Test(
        "a response ends where its fields say, however it is cut into pieces",
        arguments: [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n",
            "HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b\"\r\nhi\r\n00\r\nX: y\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        ]
    )
    func ends(response: String) {
        for size in [1, 3, 4_096] {
            let end = Self.end(of: response + "HTTP/1.1 200 OK\r\n\r\nmore", size: size)
            #expect(end == .at(response.utf8.count))
        }
    }

    @Test("the response to HEAD has no body")
    func head() {
        let response = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
        #expect(Self.end(of: response + "hello", isHead: true, size: 7) == .at(response.utf8.count))
    }

    @Test(
        "a response whose end is in doubt lasts until the connection closes",
        arguments: [
            "HTTP/1.1 200 OK\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000000000000000\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
            "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
            "ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        ]
    )
    func doubts(response: String) {
        for size in [1, 4_096] { #expect(Self.end(of: response, size: size) == .unknown) }
    }

    @Test("after 101, which the request allowed, every byte belongs to the other protocol")
    func upgraded() {
        let response = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
        #expect(Self.end(of: response, allowsUpgrade: true, size: 5) == .upgraded)
    }

    @Test("a head that is larger than the limit has no known end")
    func limit() {
        let field = "X: \(String(repeating: "a", count: HTTPHeadReader.maximumLength))\r\n"
        let response = "HTTP/1.1 200 OK\r\n\(field)Content-Length: 0\r\n\r\n"
        #expect(Self.end(of: response, size: 1_000) == .unknown)
    }
}
