//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOHTTP1
import Testing
import TunnelProtocol

@testable import Tunnel

@Suite("One client of the HTTP proxy")
struct HTTPProxyStateMachineTests {
    // MARK: Kept connections

    @Test("requests for one target share a stream; another target gets another stream")
    func keptConnection() {
        var client = HTTPProxyClient()
        client.send(HTTPProxyClient.get("/1"))
        #expect(client.serve(HTTPProxyClient.ok) == HTTPProxyClient.ok)
        client.send(HTTPProxyClient.get("/2"))
        #expect(client.serve(HTTPProxyClient.ok) == HTTPProxyClient.ok)
        client.send(HTTPProxyClient.get("/3", "b:81"))
        #expect(client.streams.map(\.target) == ["a:80", "b:81"])
        #expect(client.streams[0].sent == HTTPProxyClient.origin("/1") + HTTPProxyClient.origin("/2"))
        #expect(client.streams[1].sent == HTTPProxyClient.origin("/3", "b:81"))
        #expect(client.events.isEmpty)
    }

    @Test("a request is sent only when the previous response is complete, also to another target")
    func oneAtATime() {
        var client = HTTPProxyClient()
        client.send(HTTPProxyClient.get("/1") + HTTPProxyClient.get("/2") + HTTPProxyClient.get("/3", "b"))
        #expect(client.streams.map(\.sent) == [HTTPProxyClient.origin("/1")])
        #expect(!client.machine.wantsInput)
        #expect(client.serve("HTTP/1.1 100 Continue\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n")
        #expect(client.serve("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no") != "")
        #expect(client.streams.map(\.sent) == [HTTPProxyClient.origin("/1")])
        #expect(client.serve("k") == "k")
        #expect(client.streams.map(\.sent) == [HTTPProxyClient.origin("/1") + HTTPProxyClient.origin("/2")])
        #expect(client.serve(HTTPProxyClient.ok) == HTTPProxyClient.ok)
        #expect(
            client.streams.map(\.sent) == [
                HTTPProxyClient.origin("/1") + HTTPProxyClient.origin("/2"), HTTPProxyClient.origin("/3", "b"),
            ]
        )
    }

    @Test("bytes after the end of a response are dropped, and the connection is closed")
    func surplus() {
        var client = HTTPProxyClient()
        client.send(HTTPProxyClient.get("/1"))
        #expect(client.serve(HTTPProxyClient.ok + HTTPProxyClient.ok) == HTTPProxyClient.ok)
        #expect(client.events == ["close"])
        client.send(HTTPProxyClient.get("/2", "b"))
        #expect(client.streams.count == 1)
        var late = HTTPProxyClient()
        late.send(HTTPProxyClient.get("/1"))
        _ = late.serve(HTTPProxyClient.ok)
        #expect(late.serve(HTTPProxyClient.ok) == "")
        #expect(late.events == ["close"])
    }

    @Test("a response whose length is unknown is the last on the connection")
    func untilClose() {
        var client = HTTPProxyClient()
        client.send(HTTPProxyClient.get("/1") + HTTPProxyClient.get("/2"))
        #expect(client.serve("HTTP/1.1 200 OK\r\n\r\nhello") != "")
        let answer = client.machine.outputClosed()
        #expect(answer == nil)
        client.advance()
        #expect(client.streams.map(\.sent) == [HTTPProxyClient.origin("/1")])
        client.closeInput()
        #expect(client.events == ["end"])
    }

    @Test("a service that closes before its response began is reported to the client, but only for the first request")
    func unanswered() {
        var client = HTTPProxyClient()
        client.send(HTTPProxyClient.get("/1"))
        let first = client.machine.outputClosed()
        #expect(first == .page(hasBody: true))
        // The service may have closed a kept connection because it was idle. The client repeats its request.
        var kept = HTTPProxyClient()
        kept.send(HTTPProxyClient.get("/1"))
        _ = kept.serve(HTTPProxyClient.ok)
        kept.send(HTTPProxyClient.get("/2"))
        let second = kept.machine.outputClosed()
        #expect(second == .close)
    }

    @Test("a request after a response whose end is in doubt closes the connection, so that the client repeats it")
    func doubtfulResponse() {
        let uncertainEnd = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"
        var client = HTTPProxyClient()
        client.send(HTTPProxyClient.get("/1"))
        #expect(client.serve(uncertainEnd) == uncertainEnd)
        #expect(client.machine.wantsInput)
        client.send("\r\n\r\n")
        #expect(client.events.isEmpty)
        client.send(HTTPProxyClient.get("/2", "b"))
        #expect(client.events == ["close"])
        #expect(client.streams.count == 1)
    }

    @Test("another user, or none, gets another stream, and each request must show the credentials that are required")
    func credentials() {
        let field = { (text: String) in "Proxy-Authorization: Basic \(text)\r\n" }
        var client = HTTPProxyClient()
        for credentials in [field("YTox"), field("YTox"), field("YToy"), ""] {
            client.send(HTTPProxyClient.get("/", "a", credentials))
            _ = client.serve(HTTPProxyClient.ok)
        }
        #expect(client.streams.count == 3)
        #expect(!client.streams.contains { $0.sent.contains("Basic") })
        var closed = HTTPProxyClient(credentials: ProxyCredentials(user: [97], password: [49]))
        closed.send(HTTPProxyClient.get("/", "a", field("YTox")))
        _ = closed.serve(HTTPProxyClient.ok)
        closed.send(HTTPProxyClient.get("/", "a", field("YToy")))
        #expect(closed.streams.map(\.sent) == [HTTPProxyClient.origin("/")])
        #expect(closed.events == ["407"])
    }

    // MARK: Upgrades and CONNECT

    private static let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n"

    @Test("the connection is left to both sides after 101, and not before")
    func upgrade() {
        var client = HTTPProxyClient()
        client.send(HTTPProxyClient.get("/", "a", Self.upgrade))
        #expect(client.streams[0].sent.hasSuffix("Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"))
        #expect(!client.machine.isUpgraded)
        #expect(client.serve("HTTP/1.1 101 Switching Protocols\r\n\r\nframe") != "")
        #expect(client.machine.isUpgraded)
        client.send("bytes")
        #expect(client.events == ["leave bytes"])
    }

    @Test("after a refused upgrade, requests are rewritten and sent to their own target")
    func refusedUpgrade() {
        var client = HTTPProxyClient()
        client.send(HTTPProxyClient.get("/", "a", Self.upgrade))
        _ = client.serve("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
        client.send(HTTPProxyClient.get("/secret", "b", "Cookie: c\r\nProxy-Authorization: Basic YTox\r\n"))
        #expect(client.streams.map(\.target) == ["a:80", "b:80"])
        #expect(client.streams[1].sent == "GET /secret HTTP/1.1\r\nHost: b\r\nCookie: c\r\n\r\n")
    }

    @Test("a service that says 101 unasked is not believed")
    func unaskedSwitch() {
        var client = HTTPProxyClient()
        client.send(HTTPProxyClient.get("/1") + HTTPProxyClient.get("/2", "b"))
        _ = client.serve("HTTP/1.1 101 Switching Protocols\r\n\r\n")
        #expect(!client.machine.isUpgraded)
        #expect(client.streams.count == 1)
    }

    @Test("a request with a body, and one for HTTP/2, are passed without the upgrade")
    func ignoredUpgrade() {
        var client = HTTPProxyClient()
        client.send("POST http://a/ HTTP/1.1\r\n\(Self.upgrade)Content-Length: 3\r\n\r\nabc")
        #expect(client.streams[0].sent == "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        _ = client.serve(HTTPProxyClient.ok)
        client.send(
            HTTPProxyClient.get(
                "/",
                "b",
                "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAA\r\n"
            )
        )
        #expect(client.streams[1].sent == HTTPProxyClient.origin("/", "b"))
    }

    @Test("CONNECT passes what follows it unchanged, and what came with it")
    func connect() {
        var client = HTTPProxyClient()
        client.send("CONNECT a:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\n\u{16}\u{3}\u{1}")
        #expect(client.streams.map(\.target) == ["a:443"])
        #expect(client.events == ["tunnel \u{16}\u{3}\u{1}"])
        var slow = HTTPProxyClient()
        slow.opensAtOnce = false
        slow.send("CONNECT a:443 HTTP/1.1\r\n\r\nhello")
        #expect(!slow.machine.wantsInput)
        slow.closeInput()
        slow.open()
        #expect(slow.events == ["tunnel hello end"])
    }

    // MARK: Ends and failures

    @Test("the end of the client's input reaches the service after everything before it")
    func endOfInput() {
        var client = HTTPProxyClient()
        client.opensAtOnce = false
        client.send("POST http://a/ HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" + HTTPProxyClient.get("/", "b"))
        client.closeInput()
        #expect(client.events.isEmpty)
        client.open()
        client.advance()
        #expect(client.streams[0].sent.hasSuffix("\r\n\r\nabc"))
        #expect(client.events.isEmpty)
        _ = client.serve(HTTPProxyClient.ok)
        client.open()
        client.advance()
        #expect(client.streams.map(\.target) == ["a:80", "b:80"])
        #expect(client.events == ["end"])
    }

    @Test("a client that sends no more is not forgotten because of bytes after its request")
    func endOfInputAfterLeftovers() {
        var blank = HTTPProxyClient()
        blank.send(HTTPProxyClient.get("/") + "\r\n")
        blank.closeInput()
        #expect(blank.events == ["end"])
        _ = blank.serve(HTTPProxyClient.ok)
        #expect(blank.events == ["end"])
        var pipelined = HTTPProxyClient()
        pipelined.send(HTTPProxyClient.get("/1") + HTTPProxyClient.get("/2"))
        #expect(!pipelined.machine.isWaitingAtEnd)
        pipelined.closeInput()
        #expect(pipelined.machine.isWaitingAtEnd)
    }

    @Test("a kept stream that fails before the response closes the connection, so that the client repeats the request")
    func keptStreamFails() {
        var client = HTTPProxyClient()
        client.send(HTTPProxyClient.get("/1"))
        _ = client.serve(HTTPProxyClient.ok)
        client.send(HTTPProxyClient.get("/2"))
        #expect(client.machine.streamFailed() == .close)
    }

    @Test("an error of the stream is a page before the response, a reset in it, and a quiet end after it")
    func streamFailures() {
        var client = HTTPProxyClient()
        client.send(HTTPProxyClient.get("/"))
        var before = client
        #expect(before.machine.streamFailed() == .page(hasBody: true))
        _ = client.serve("HTTP/1.1 200 OK\r\nContent-Le")
        var during = client
        #expect(during.machine.streamFailed() == .reset)
        _ = client.serve("ngth: 0\r\n\r\n")
        #expect(client.machine.streamFailed() == .close)
        var head = HTTPProxyClient()
        head.opensAtOnce = false
        head.send("HEAD http://a/ HTTP/1.1\r\n\r\n")
        #expect(head.machine.streamFailed() == .page(hasBody: false))
    }

    @Test("garbage after a request waits for the response, and is then named")
    func garbage() {
        var client = HTTPProxyClient()
        client.send(HTTPProxyClient.get("/") + "\u{0}garbage\r\n\r\n")
        #expect(client.serve(HTTPProxyClient.ok) == HTTPProxyClient.ok)
        #expect(client.events == ["400"])
        var begun = HTTPProxyClient()
        begun.send("POST http://a/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        _ = begun.serve("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        begun.send("no chunk")
        #expect(begun.events == ["abort"])
    }

}
