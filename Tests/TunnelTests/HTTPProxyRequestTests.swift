//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto
import Testing
import TunnelProtocol

@testable import Tunnel

/// Two names of one exit.
private let exitKey = SecretKey.generate().publicKey.npub
private let exit = NostrName(
    publicKey: PublicKey(userText: exitKey) ?? SecretKey.generate().publicKey,
    relays: (try? RelayURL("ws://r.example")).map { [$0] } ?? []
).encoded

@Suite("Requests to the HTTP proxy")
struct HTTPProxyRequestTests {
    @Test(
        "a request that a page of another site sends is refused",
        arguments: [
            "POST http://\(exit)/x HTTP/1.1\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\n\r\n",
            "POST http://\(exit)/x HTTP/1.1\r\nOrigin: http://\(exit)\r\nOrigin: http://b\r\n\r\n",
            "POST http://\(exit)/x HTTP/1.1\r\nOrigin: null\r\nContent-Length: 0\r\n\r\n",
            "GET http://\(exit)/ HTTP/1.1\r\nOrigin: http://b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            "GET http://\(exit)/x.js HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n\r\n",
            "POST http://\(exit)/x HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n\r\n",
        ]
    )
    func crossSite(request: String) {
        var client = HTTPProxyClient()
        client.send(request)
        #expect(client.streams.isEmpty)
        #expect(client.events == ["403"])
    }

    @Test(
        "a request of the service's own pages and a link from another site are forwarded",
        arguments: [
            "POST http://\(exit)/x HTTP/1.1\r\nOrigin: http://\(exit.uppercased())\r\nContent-Length: 0\r\n\r\n",
            "POST http://\(exit):8080/x HTTP/1.1\r\nOrigin: http://\(exit):80\r\nContent-Length: 0\r\n\r\n",
            "GET http://\(exit)/ HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n\r\n",
            "GET http://\(exit)/ HTTP/1.1\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n\r\n",
            "GET http://\(exit)/ HTTP/1.1\r\nReferer: http://evil.example/\r\n\r\n",
            "POST http://\(exit)/x HTTP/1.1\r\nOrigin: http://\(exitKey)\r\nContent-Length: 0\r\n\r\n",
            "POST http://api.example/x HTTP/1.1\r\nOrigin: http://www.example\r\nContent-Length: 0\r\n\r\n",
        ]
    )
    func sameSite(request: String) {
        var client = HTTPProxyClient()
        client.send(request)
        #expect(client.streams.count == 1)
    }

    @Test(
        "requests that name no target, or that two programs could read in two ways, are refused",
        arguments: [
            ("nonsense\r\nHost: x\r\n\r\n", "400"), ("GET http://a/ HTTP/1.1\n\n", "400"),
            ("GET http://a/ HTTP/1.1\r\nX : y\r\n\r\n", "400"),
            ("GET http://a/ HTTP/1.1\r\nX: y\r\n z\r\n\r\n", "400"),
            ("GET http://a/ HTTP/1.1\r\nX: y\rz\r\n\r\n", "400"),
            ("GET  http://a/ HTTP/1.1\r\n\r\n", "400"),
            ("POST http://a/ HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "400"),
            ("POST http://a/ HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "400"),
            ("POST http://a/ HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501"),
            ("POST http://a/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400"),
            ("GET http://a:0/ HTTP/1.1\r\n\r\n", "400"),
            ("GET ftp://a/ HTTP/1.1\r\n\r\n", "400"),
            ("PRI * HTTP/2.0\r\n\r\n", "505"),
            ("CONNECT a HTTP/1.1\r\n\r\n", "400"),
            ("CONNECT :80 HTTP/1.1\r\n\r\n", "400"),
            ("CONNECT a:99999 HTTP/1.1\r\n\r\n", "400"),
            ("GET http:///x HTTP/1.1\r\n\r\n", "400"),
        ]
    )
    func refused(request: String, status: String) {
        var client = HTTPProxyClient()
        client.send(request)
        #expect(client.events == [status])
        #expect(client.streams.isEmpty)
    }

    @Test("header fields beyond the limits are refused")
    func limits() {
        var client = HTTPProxyClient()
        client.send(
            HTTPProxyClient.get("/", "a", String(repeating: "X: y\r\n", count: HTTPHeadReader.maximumFields + 1))
        )
        #expect(client.events == ["431"])
        var large = HTTPProxyClient()
        large.send("GET http://a/" + String(repeating: "a", count: HTTPHeadReader.maximumLength))
        #expect(large.events == ["431"])
    }

    @Test("a body of many small chunks passes unchanged")
    func manyChunks() {
        var client = HTTPProxyClient()
        let body = String(repeating: "1;x\r\na\r\n", count: 20_000) + "0\r\nT: v\r\n\r\n"
        client.send("POST http://a/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body + HTTPProxyClient.get("/2"))
        _ = client.serve(HTTPProxyClient.ok)
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        #expect(client.streams.map(\.sent) == [head + body + HTTPProxyClient.origin("/2")])
    }

    @Test("fields of one connection stay behind; the others pass as they are, whatever their bytes")
    func fields() throws {
        let start = "GET http://u:p@[::1]:080/x?q#f HTTP/1.1\r\nHost: other\r\nConnection: X-One, close\r\nX-One: 1\r\n"
        let latin1 = Array("X-Name: caf".utf8) + [0xe9] + Array("\r\nTE: trailers\r\nTransfer-Encoding:\r\n\r\n".utf8)
        var machine = HTTPProxyStateMachine(credentials: nil)
        machine.receive(ByteBuffer(bytes: Array(start.utf8) + latin1))
        guard case .open(let request)? = machine.next(), let plain = request.plain else {
            Issue.record("The request was not accepted")
            return
        }
        let expected = Array("GET /x?q HTTP/1.1\r\nHost: [::1]\r\nX-Name: caf".utf8) + [0xe9]
        #expect(Array(buffer: plain.head) == expected + Array("\r\nConnection: close\r\n\r\n".utf8))
    }

    @Test("requests for the proxy itself get a page")
    func ownPages() {
        for (request, event) in [
            ("GET /proxy.pac?x=1 HTTP/1.1\r\n\r\n", "page /proxy.pac"), ("OPTIONS * HTTP/1.1\r\n\r\n", "page *"),
            ("HEAD / HTTP/1.1\r\n\r\n", "page / without body"),
        ] {
            var client = HTTPProxyClient()
            client.send(request)
            #expect(client.events == [event])
        }
    }
}
