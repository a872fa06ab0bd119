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

@Suite("Responses of the HTTP proxy itself")
struct ProxyResponseTests {
    private static let target = TargetAddress(host: .domain("a.nostr"), port: 80)

    private static func text(_ response: ProxyResponse, hasBody: Bool = true) -> String {
        String(buffer: response.encoded(hasBody: hasBody))
    }

    private static func page(_ failure: ProxyFailure, _ target: TargetAddress = Self.target) -> ProxyResponse {
        ProxyResponse(failure, target: target, remedyText: { $0.description })
    }

    @Test(
        "a target that no exit was asked for has the status of the reason",
        arguments: [
            (EntryError.clearnet, 403), (EntryError.invalidName(.malformedKey("abc")), 502), (EntryError.noRelays, 502),
            (EntryError.noPublicExit, 502), (EntryError.relaysUnreachable(["x"]), 502),
            (EntryError.tooManyExits, 502), (EntryError.tooManyStreams, 502), (EntryError.shuttingDown, 502),
        ]
    )
    func notRequested(error: EntryError, status: Int) {
        let response = Self.page(.notRequested(error))
        #expect(response.status.code == UInt(status))
        #expect(Self.text(response).hasPrefix("HTTP/1.1 \(status) "))
        #expect(Self.text(response).contains("<h1>"))
    }

    @Test(
        "a stream that failed has the status of its end",
        arguments: [
            (StreamEnd.notAllowed, 403), (StreamEnd.timedOut, 504), (StreamEnd.idle, 504), (StreamEnd.exitSilent, 504),
            (StreamEnd.refused, 502), (StreamEnd.unreachable, 502), (StreamEnd.noRelay, 502),
            (StreamEnd.relayLost, 502), (StreamEnd.tooManyStreams, 502), (StreamEnd.connectionReset, 502),
        ]
    )
    func ended(end: StreamEnd, status: Int) {
        let response = Self.page(.ended(end))
        #expect(response.status.code == UInt(status))
        #expect(Self.text(response).contains("<h1>"))
    }

    @Test("a page names the hop that failed, and contains nothing of the request unescaped")
    func failurePage() {
        #expect(Self.text(Self.page(.ended(.refused))).contains("The service does not answer"))
        #expect(Self.text(Self.page(.notRequested(.invalidName(.malformedKey("abc"))))).contains("Not a valid name"))
        let odd = TargetAddress(host: .domain("<script>alert(1)</script>.nostr"), port: 80)
        let page = Self.text(Self.page(.notRequested(.invalidName(.malformedKey("abc"))), odd))
        #expect(page.contains("&lt;script&gt;"))
        #expect(!page.contains("<script>"))
    }

    @Test(
        "the proxy has a page about itself and a script, and no others",
        arguments: [("/", 200), ("*", 200), ("/proxy.pac", 200), ("/somewhere", 404), ("/proxy.pac/", 404)]
    )
    func ownPages(path: String, status: Int) {
        let page = EntryHomePage(exits: [], address: "127.0.0.1:8882", host: "127.0.0.1:8882", isLocal: true)
        let response = ProxyResponse(ownPath: path, page: page)
        #expect(response.status.code == UInt(status))
        #expect(Self.text(response).contains("127.0.0.1:8882"))
        #expect(Self.text(response).contains("<h1>") == (path != "/proxy.pac"))
    }

    @Test(
        "the page lists the exits only to programs of this machine, so that no other site can read them",
        arguments: [
            ("127.0.0.1:8882", true), ("localhost:8882", true), ("[::1]:8882", true), ("192.168.1.2:8882", false),
            ("evil.example:8882", false), ("abc:8882", false), ("fade.cab", false), (nil, false), ("", false),
        ] as [(String?, Bool)]
    )
    func listedExits(host: String?, isListed: Bool) throws {
        let key = try SecretKey(.sha256(of: [1])).publicKey
        let alias = try #require(Alias("home"))
        let exit = EntryHomePage.Exit(alias: alias, name: NostrName(publicKey: key, relays: []), services: [22, 443])
        let page = EntryHomePage(exits: [exit], address: "127.0.0.1:8882", host: host, isLocal: true)
        #expect(page.html.contains("home.nostr") == isListed)
        let other = EntryHomePage(exits: [exit], address: "127.0.0.1:8882", host: host, isLocal: false)
        #expect(!other.html.contains("home.nostr"))
        #expect(page.html.contains(key.npub) == false)
        // The certificate of an exit is not valid for an alias.
        #expect(!page.html.contains("https://home.nostr"))
    }

    @Test("a page says that access ended, and a refusal of a known device does not ask for an identity")
    func deniedDevices() {
        let revoked = Self.text(
            Self.page(.notRequested(.offerFailed(.revoked, exit: PublicKey(unchecked: .zero), isPinned: true)))
        )
        #expect(revoked.contains("was revoked or has expired") && revoked.contains("new invite"))
        let refused = Self.text(Self.page(.refusedToDevice))
        #expect(refused.contains("The exit knows this device") && !refused.contains("identity"))
    }

    @Test("a response to HEAD has the length of the body, and no body")
    func noBody() {
        let response = ProxyResponse(.badRequest, text: "x")
        let (whole, head) = (Self.text(response), Self.text(response, hasBody: false))
        #expect(whole.hasPrefix(head))
        #expect(head.hasSuffix("\r\n\r\n"))
        #expect(head.contains("Content-Length: \(whole.utf8.count - head.utf8.count)\r\n"))
    }

    @Test("the response to wrong credentials asks for them")
    func credentials() {
        let response = Self.text(ProxyResponse(.proxyAuthenticationRequired, text: "x"))
        #expect(response.hasPrefix("HTTP/1.1 407 "))
        #expect(response.contains("Proxy-Authenticate: Basic"))
        #expect(!Self.text(ProxyResponse(.badRequest, text: "x")).contains("Proxy-Authenticate"))
    }

    @Test("the script names the host of the request only if that is an address")
    func address() throws {
        let local = try SocketAddress(ipAddress: "127.0.0.1", port: 8_882)
        #expect(ProxyAutoConfiguration.address("proxy.example:1", local) == "proxy.example:1")
        #expect(ProxyAutoConfiguration.address("[::1]:1", local) == "[::1]:1")
        for host in ["\";alert(1)//", "", "a b", String(repeating: "a", count: 256)] {
            #expect(ProxyAutoConfiguration.address(host, local) == "127.0.0.1:8882")
        }
        #expect(ProxyAutoConfiguration.address(nil, local) == "127.0.0.1:8882")
        #expect(ProxyAutoConfiguration.script(proxy: "proxy.example:1").contains("PROXY proxy.example:1"))
    }
}
