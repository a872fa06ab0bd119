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

@Suite("Rules and limits of public exits")
struct ExitPolicyTests {
    private static func allows(
        _ policy: ExitPolicy,
        _ address: String,
        port: UInt16 = 443,
        host: String = "x"
    ) throws -> Bool {
        policy.allows(host: host, address: try SocketAddress(ipAddress: address, port: Int(port)), port: port)
    }

    @Test(
        "addresses that are not of the internet are not dialled, in whatever form they come",
        arguments: [
            "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1",
            "100.64.0.1", "100.127.255.255", "169.254.0.1", "169.254.169.254", "100.100.100.200", "224.0.0.1",
            "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1",
            "203.0.113.1", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
            "fe80::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "2002:7f00:1::",
            "2002:a00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        ]
    )
    func forbidden(address: String) throws {
        #expect(try !Self.allows(ExitPolicy(), address))
        // A rule that names no network does not open one.
        #expect(try !Self.allows(ExitPolicy(rules: [ExitPolicy.Rule("allow")]), address))
        #expect(try !Self.allows(ExitPolicy(rules: [ExitPolicy.Rule("allow host x port 1-65535")]), address))
    }

    @Test("the internet at common ports", arguments: ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:1.1.1.1"])
    func allowed(address: String) throws {
        #expect(try Self.allows(ExitPolicy(), address))
        #expect(try !Self.allows(ExitPolicy(), address, port: 25))
        #expect(try Self.allows(ExitPolicy(rules: [ExitPolicy.Rule("allow port 25")]), address, port: 25))
    }

    @Test(
        "an address is itself in whatever form a client writes it",
        arguments: ["1.1.1.1", "::ffff:1.1.1.1", "::ffff:101:101", "0:0:0:0:0:ffff:1.1.1.1", "::FFFF:1.1.1.1"]
    )
    func forms(host: String) throws {
        let policy = ExitPolicy(rules: [try ExitPolicy.Rule("deny host 1.1.1.1")])
        #expect(try !Self.allows(policy, "1.1.1.1", host: host))
        #expect(policy.forbids(host: host, port: 443))
        let other = ExitPolicy(rules: [try ExitPolicy.Rule("deny host ::ffff:1.1.1.1")])
        #expect(try !Self.allows(other, "1.1.1.1", host: host))
    }

    @Test("a network that has the internet in it opens nothing else", arguments: ["0.0.0.0/0", "::/0", "126.0.0.0/7"])
    func everything(network: String) throws {
        let policy = ExitPolicy(rules: [try ExitPolicy.Rule("allow cidr \(network) port 1-65535")])
        for address in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1"] {
            #expect(try !Self.allows(policy, address))
        }
    }

    @Test("the first rule that matches wins")
    func order() throws {
        let policy = ExitPolicy(
            rules: try [
                "deny host evil.example", "allow host *.example port 25,1000-1999", "deny cidr 1.2.0.0/15",
                "allow cidr 10.1.0.0/16 port 80", "deny port 22",
            ].map { try ExitPolicy.Rule($0) }
        )
        #expect(try !Self.allows(policy, "1.1.1.1", host: "evil.example"))
        #expect(try !Self.allows(policy, "1.1.1.1", host: "EVIL.example."))
        #expect(try Self.allows(policy, "1.1.1.1", port: 25, host: "mail.example"))
        #expect(try Self.allows(policy, "1.1.1.1", port: 1_999, host: "a.b.example"))
        #expect(try !Self.allows(policy, "1.1.1.1", port: 2_000, host: "a.b.example"))
        #expect(try !Self.allows(policy, "1.3.255.255"))
        #expect(try Self.allows(policy, "1.4.0.0"))
        #expect(try Self.allows(policy, "10.1.2.3", port: 80))
        #expect(try !Self.allows(policy, "10.1.2.3", port: 443))
        #expect(try !Self.allows(policy, "10.2.0.1", port: 80))
        #expect(try !Self.allows(policy, "1.1.1.1", port: 22))
        let odd = ExitPolicy(
            rules: try ["deny host evil.example.", "deny cidr ::ffff:1.2.3.0/120"].map { try ExitPolicy.Rule($0) }
        )
        #expect(try !Self.allows(odd, "1.1.1.1", host: "evil.example"))
        #expect(try !Self.allows(odd, "1.2.3.4"))
        #expect(try Self.allows(odd, "1.2.4.4"))
    }

    @Test(
        "a rule that is not understood is refused",
        arguments: [
            "", "permit", "allow host", "allow cidr 10.0.0.0/33", "allow cidr 10.0.0/8", "allow cidr ::/129",
            "deny port 0",
            "deny port 5-4", "deny port x", "allow port 1-2-3", "allow user x", "allow port 70000",
            "deny port 25 port 465", "allow cidr ::ffff:0:0/90",
        ]
    )
    func malformed(text: String) {
        #expect(throws: ExitPolicy.RuleError.self) { try ExitPolicy.Rule(text) }
    }

    @Test("a request is for an internet target or for a service of the exit")
    func targets() {
        func target(_ destination: String, _ port: UInt16?) -> String? {
            ClearnetTarget(StreamRequest(destination: destination, port: port))?.description
        }
        #expect(target("example.com", 80) == "example.com:80")
        #expect(target("2001:db8:0:0:0:0:0:1", 80) == "[2001:db8:0:0:0:0:0:1]:80")
        #expect(target("1.2.3.4:443", nil) == "1.2.3.4:443")
        #expect(target("[::1]:443", nil) == "[::1]:443")
        #expect(target("1.2.3.4", nil) == nil)
        #expect(target("", 80) == nil)
        #expect(target("x.nostr", 80) == nil)
        #expect(target("npub1x", 80) == nil)
        #expect(target("x.nostr:80", nil) == nil)
    }

    @Test("streams and connection rate are limited for each client separately")
    func usage() {
        var limits = ExitPolicy.Limits()
        limits.streamsPerClient = 2
        limits.connectsPerSecondPerClient = 2
        var usage = PublicUsage(limits)
        let (first, second) = (SecretKey.generate().publicKey, SecretKey.generate().publicKey)
        let now = NIODeadline.now()
        #expect(usage.begin(first, at: now) != nil)
        #expect(usage.begin(first, at: now) != nil)
        #expect(usage.begin(first, at: now) == nil)
        #expect(usage.begin(second, at: now) != nil)
        usage.end(first, at: now)
        usage.end(first, at: now)
        // Four at once, however short.
        #expect(usage.begin(first, at: now) != nil)
        usage.end(first, at: now)
        #expect(usage.begin(first, at: now) != nil)
        usage.end(first, at: now)
        #expect(usage.begin(first, at: now) == nil)
        usage.sweep(at: now + .seconds(1))
        #expect(usage.begin(first, at: now + .seconds(1)) != nil)
    }

    @Test("announcements are read back, until they lapse")
    func announcements() throws {
        let key = SecretKey.generate()
        let relays = [try RelayURL("wss://a.example"), try RelayURL("wss://b.example")]
        let event = try ExitAnnouncement.event(by: key, relays: relays, createdAt: 1_000)
        let read = ExitAnnouncement(event, foundOn: nil, now: 1_000)
        #expect(read?.publicKey == key.publicKey)
        #expect(read?.relays == relays)
        #expect(ExitAnnouncement(event, foundOn: nil, now: 1_600) == nil)
        // The reference names no relays: it is where it was found.
        let bare = try Event.signed(
            by: key,
            createdAt: 1_000,
            kind: .exitAnnouncement,
            tags: [Tag("expiration", "1010")],
            content: ByteBuffer()
        )
        #expect(ExitAnnouncement(bare, foundOn: relays[1], now: 1_000)?.relays == [relays[1]])
    }
}
