//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOHTTP1
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

@Suite("One client of the HTTP proxy")
struct HTTPProxyStateMachineTests {
    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    /// A client and its services, without sockets. Streams open at once unless told otherwise.
    private struct Client {
        var machine: HTTPProxyStateMachine
        /// `HOST:PORT` and what was sent there, for each stream.
        var streams: [(target: String, sent: String)] = []
        /// What the proxy did besides.
        var events: [String] = []
        var opensAtOnce = true

        init(credentials: ProxyCredentials? = nil) {
            self.machine = HTTPProxyStateMachine(credentials: credentials)
        }

        mutating func send(_ text: String) {
            self.machine.receive(ByteBuffer(string: text))
            self.advance()
        }

        /// The service of the last stream sends. Returns what the client gets.
        mutating func serve(_ text: String) -> String {
            let count = self.machine.receiveFromService(ByteBuffer(string: text))
            self.advance()
            return String(decoding: text.utf8.prefix(count), as: UTF8.self)
        }

        mutating func closeInput() {
            self.machine.inputClosed()
            self.advance()
        }

        mutating func open() {
            switch self.machine.opened() {
            case .request(let head)?: self.pass(head)
            case .tunnel(let bytes, let isClosed)?:
                self.events.append("tunnel \(String(buffer: bytes))\(isClosed ? " end" : "")")
            case nil: break
            }
        }

        private mutating func pass(_ bytes: ByteBuffer) {
            self.streams[self.streams.count - 1].sent += String(buffer: bytes)
        }

        mutating func advance() {
            while let action = self.machine.next() {
                switch action {
                case .open(let request):
                    self.streams.append(("\(request.target)", ""))
                    if self.opensAtOnce { self.open() }
                case .send(let bytes): self.pass(bytes)
                case .endInput: self.events.append("end")
                case .leave(let bytes, let isClosed):
                    self.events.append("leave \(String(buffer: bytes))\(isClosed ? " end" : "")")
                case .respond(.rejected(let failure), let hasBody):
                    self.events.append("\(failure.httpStatus.code)\(hasBody ? "" : " without body")")
                case .respond(.wrongCredentials, let hasBody):
                    self.events.append("407\(hasBody ? "" : " without body")")
                case .respond(.ownPage(let path, _), let hasBody):
                    self.events.append("page \(path)\(hasBody ? "" : " without body")")
                case .close: self.events.append("close")
                case .abort: self.events.append("abort")
                }
            }
        }
    }

    private static func get(_ path: String, _ host: String = "a", _ fields: String = "") -> String {
        "GET http://\(host)\(path) HTTP/1.1\r\n\(fields)\r\n"
    }

    private static func origin(_ path: String, _ host: String = "a") -> String {
        "GET \(path) HTTP/1.1\r\nHost: \(host)\r\n\r\n"
    }

    // MARK: Kept connections

    @Test("requests for one target share a stream; another target gets another stream")
    func keptConnection() {
        var client = Client()
        client.send(Self.get("/1"))
        #expect(client.serve(Self.ok) == Self.ok)
        client.send(Self.get("/2"))
        #expect(client.serve(Self.ok) == Self.ok)
        client.send(Self.get("/3", "b:81"))
        #expect(client.streams.map(\.target) == ["a:80", "b:81"])
        #expect(client.streams[0].sent == Self.origin("/1") + Self.origin("/2"))
        #expect(client.streams[1].sent == Self.origin("/3", "b:81"))
        #expect(client.events.isEmpty)
    }

    @Test("a request is sent only when the previous response is complete, also to another target")
    func oneAtATime() {
        var client = Client()
        client.send(Self.get("/1") + Self.get("/2") + Self.get("/3", "b"))
        #expect(client.streams.map(\.sent) == [Self.origin("/1")])
        #expect(!client.machine.wantsInput)
        #expect(client.serve("HTTP/1.1 100 Continue\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n")
        #expect(client.serve("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no") != "")
        #expect(client.streams.map(\.sent) == [Self.origin("/1")])
        #expect(client.serve("k") == "k")
        #expect(client.streams.map(\.sent) == [Self.origin("/1") + Self.origin("/2")])
        #expect(client.serve(Self.ok) == Self.ok)
        #expect(client.streams.map(\.sent) == [Self.origin("/1") + Self.origin("/2"), Self.origin("/3", "b")])
    }

    @Test("bytes after the end of a response are dropped, and the connection is closed")
    func surplus() {
        var client = Client()
        client.send(Self.get("/1"))
        #expect(client.serve(Self.ok + Self.ok) == Self.ok)
        #expect(client.events == ["close"])
        client.send(Self.get("/2", "b"))
        #expect(client.streams.count == 1)
        var late = Client()
        late.send(Self.get("/1"))
        _ = late.serve(Self.ok)
        #expect(late.serve(Self.ok) == "")
        #expect(late.events == ["close"])
    }

    @Test("a response whose length is unknown is the last on the connection")
    func untilClose() {
        var client = Client()
        client.send(Self.get("/1") + Self.get("/2"))
        #expect(client.serve("HTTP/1.1 200 OK\r\n\r\nhello") != "")
        let answer = client.machine.outputClosed()
        #expect(answer == nil)
        client.advance()
        #expect(client.streams.map(\.sent) == [Self.origin("/1")])
        client.closeInput()
        #expect(client.events == ["end"])
    }

    @Test("a service that closes before its response began is reported to the client, but only for the first request")
    func unanswered() {
        var client = Client()
        client.send(Self.get("/1"))
        let first = client.machine.outputClosed()
        #expect(first == .page(hasBody: true))
        // The service may have closed a kept connection because it was idle. The client repeats its request.
        var kept = Client()
        kept.send(Self.get("/1"))
        _ = kept.serve(Self.ok)
        kept.send(Self.get("/2"))
        let second = kept.machine.outputClosed()
        #expect(second == .close)
    }

    @Test("a request after a response whose end is in doubt closes the connection, so that the client repeats it")
    func doubtfulResponse() {
        let uncertainEnd = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"
        var client = Client()
        client.send(Self.get("/1"))
        #expect(client.serve(uncertainEnd) == uncertainEnd)
        #expect(client.machine.wantsInput)
        client.send("\r\n\r\n")
        #expect(client.events.isEmpty)
        client.send(Self.get("/2", "b"))
        #expect(client.events == ["close"])
        #expect(client.streams.count == 1)
    }

    @Test("another user, or none, gets another stream, and each request must show the credentials that are required")
    func credentials() {
        let field = { (text: String) in "Proxy-Authorization: Basic \(text)\r\n" }
        var client = Client()
        for credentials in [field("YTox"), field("YTox"), field("YToy"), ""] {
            client.send(Self.get("/", "a", credentials))
            _ = client.serve(Self.ok)
        }
        #expect(client.streams.count == 3)
        #expect(!client.streams.contains { $0.sent.contains("Basic") })
        var closed = Client(credentials: ProxyCredentials(user: [97], password: [49]))
        closed.send(Self.get("/", "a", field("YTox")))
        _ = closed.serve(Self.ok)
        closed.send(Self.get("/", "a", field("YToy")))
        #expect(closed.streams.map(\.sent) == [Self.origin("/")])
        #expect(closed.events == ["407"])
    }

    // MARK: Upgrades and CONNECT

    private static let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n"

    @Test("the connection is left to both sides after 101, and not before")
    func upgrade() {
        var client = Client()
        client.send(Self.get("/", "a", Self.upgrade))
        #expect(client.streams[0].sent.hasSuffix("Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"))
        #expect(!client.machine.isUpgraded)
        #expect(client.serve("HTTP/1.1 101 Switching Protocols\r\n\r\nframe") != "")
        #expect(client.machine.isUpgraded)
        client.send("bytes")
        #expect(client.events == ["leave bytes"])
    }

    @Test("after a refused upgrade, requests are rewritten and sent to their own target")
    func refusedUpgrade() {
        var client = Client()
        client.send(Self.get("/", "a", Self.upgrade))
        _ = client.serve("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
        client.send(Self.get("/secret", "b", "Cookie: c\r\nProxy-Authorization: Basic YTox\r\n"))
        #expect(client.streams.map(\.target) == ["a:80", "b:80"])
        #expect(client.streams[1].sent == "GET /secret HTTP/1.1\r\nHost: b\r\nCookie: c\r\n\r\n")
    }

    @Test("a service that says 101 unasked is not believed")
    func unaskedSwitch() {
        var client = Client()
        client.send(Self.get("/1") + Self.get("/2", "b"))
        _ = client.serve("HTTP/1.1 101 Switching Protocols\r\n\r\n")
        #expect(!client.machine.isUpgraded)
        #expect(client.streams.count == 1)
    }

    @Test("a request with a body, and one for HTTP/2, are passed without the upgrade")
    func ignoredUpgrade() {
        var client = Client()
        client.send("POST http://a/ HTTP/1.1\r\n\(Self.upgrade)Content-Length: 3\r\n\r\nabc")
        #expect(client.streams[0].sent == "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        _ = client.serve(Self.ok)
        client.send(
            Self.get("/", "b", "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAA\r\n")
        )
        #expect(client.streams[1].sent == Self.origin("/", "b"))
    }

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
        var client = Client()
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
        var client = Client()
        client.send(request)
        #expect(client.streams.count == 1)
    }

    @Test("CONNECT passes what follows it unchanged, and what came with it")
    func connect() {
        var client = Client()
        client.send("CONNECT a:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\n\u{16}\u{3}\u{1}")
        #expect(client.streams.map(\.target) == ["a:443"])
        #expect(client.events == ["tunnel \u{16}\u{3}\u{1}"])
        var slow = Client()
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
        var client = Client()
        client.opensAtOnce = false
        client.send("POST http://a/ HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" + Self.get("/", "b"))
        client.closeInput()
        #expect(client.events.isEmpty)
        client.open()
        client.advance()
        #expect(client.streams[0].sent.hasSuffix("\r\n\r\nabc"))
        #expect(client.events.isEmpty)
        _ = client.serve(Self.ok)
        client.open()
        client.advance()
        #expect(client.streams.map(\.target) == ["a:80", "b:80"])
        #expect(client.events == ["end"])
    }

    @Test("a client that sends no more is not forgotten because of bytes after its request")
    func endOfInputAfterLeftovers() {
        var blank = Client()
        blank.send(Self.get("/") + "\r\n")
        blank.closeInput()
        #expect(blank.events == ["end"])
        _ = blank.serve(Self.ok)
        #expect(blank.events == ["end"])
        var pipelined = Client()
        pipelined.send(Self.get("/1") + Self.get("/2"))
        #expect(!pipelined.machine.isWaitingAtEnd)
        pipelined.closeInput()
        #expect(pipelined.machine.isWaitingAtEnd)
    }

    @Test("a kept stream that fails before the response closes the connection, so that the client repeats the request")
    func keptStreamFails() {
        var client = Client()
        client.send(Self.get("/1"))
        _ = client.serve(Self.ok)
        client.send(Self.get("/2"))
        #expect(client.machine.streamFailed() == .close)
    }

    @Test("an error of the stream is a page before the response, a reset in it, and a quiet end after it")
    func streamFailures() {
        var client = Client()
        client.send(Self.get("/"))
        var before = client
        #expect(before.machine.streamFailed() == .page(hasBody: true))
        _ = client.serve("HTTP/1.1 200 OK\r\nContent-Le")
        var during = client
        #expect(during.machine.streamFailed() == .reset)
        _ = client.serve("ngth: 0\r\n\r\n")
        #expect(client.machine.streamFailed() == .close)
        var head = Client()
        head.opensAtOnce = false
        head.send("HEAD http://a/ HTTP/1.1\r\n\r\n")
        #expect(head.machine.streamFailed() == .page(hasBody: false))
    }

    @Test("garbage after a request waits for the response, and is then named")
    func garbage() {
        var client = Client()
        client.send(Self.get("/") + "\u{0}garbage\r\n\r\n")
        #expect(client.serve(Self.ok) == Self.ok)
        #expect(client.events == ["400"])
        var begun = Client()
        begun.send("POST http://a/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        _ = begun.serve("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        begun.send("no chunk")
        #expect(begun.events == ["abort"])
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
        var client = Client()
        client.send(request)
        #expect(client.events == [status])
        #expect(client.streams.isEmpty)
    }

    @Test("header fields beyond the limits are refused")
    func limits() {
        var client = Client()
        client.send(Self.get("/", "a", String(repeating: "X: y\r\n", count: HTTPHeadReader.maximumFields + 1)))
        #expect(client.events == ["431"])
        var large = Client()
        large.send("GET http://a/" + String(repeating: "a", count: HTTPHeadReader.maximumLength))
        #expect(large.events == ["431"])
    }

    @Test("a body of many small chunks passes unchanged")
    func manyChunks() {
        var client = Client()
        let body = String(repeating: "1;x\r\na\r\n", count: 20_000) + "0\r\nT: v\r\n\r\n"
        client.send("POST http://a/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body + Self.get("/2"))
        _ = client.serve(Self.ok)
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        #expect(client.streams.map(\.sent) == [head + body + Self.origin("/2")])
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
            var client = Client()
            client.send(request)
            #expect(client.events == [event])
        }
    }
}
