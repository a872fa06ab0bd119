//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto
import Testing

@testable import Tunnel

@Suite("What an exit tells about its clients")
struct AuditTests {
    private static let client = PublicKey(unchecked: Bytes32.sha256(of: [1]))
    private static let now = NIODeadline.uptimeNanoseconds(1_000_000_000)

    @Test("a line is JSON, whatever the comment contains, and leaves out what is not known")
    func line() throws {
        let identity = SecretKey.generate().publicKey
        func line(_ identity: PublicKey?, _ name: String?) -> String {
            String(
                buffer: AuditRecord(
                    subject: .stream,
                    client: Self.client,
                    identity: identity,
                    name: name,
                    service: "22",
                    began: 0,
                    ended: 1_800_000_000,
                    sent: 1,
                    received: 2,
                    reason: nil
                ).line
            )
        }
        let full = try JSONValue.parse(ByteBuffer(string: line(identity, "a \"b\"\n{")))
        #expect(full["identity"]?.text == identity.npub)
        #expect(full["name"]?.text == "a \"b\"\n{")
        #expect(full["began"]?.text == "1970-01-01T00:00:00Z")
        #expect(full["ended"]?.text == "2027-01-15T08:00:00Z")
        #expect(full["reason"]?.text == "complete")
        let short = try JSONValue.parse(ByteBuffer(string: line(nil, nil)))
        #expect(short["identity"] == nil && short["name"] == nil && short["service"]?.text == "22")
    }

    @Test("one identity cannot use up the lines of others, and what is left out is counted")
    func rates() {
        var rates = AuditRates(now: Self.now)
        let strangers = (0..<1_000).filter { _ in rates.admit(nil, at: Self.now) }.count
        let listed = (0..<100).filter { _ in rates.admit(Self.client, at: Self.now) }.count
        #expect(strangers == 200 && listed == 100)
        let count = rates.report(at: Self.now + .seconds(10))
        #expect(count == 800)
    }

    @Test("the PROXY protocol header names the client, and cuts a long comment between characters")
    func proxyProtocol() {
        let identity = SecretKey.generate().publicKey
        let comment = String(repeating: "é", count: 200)
        var header = ProxyProtocolHeader(client: Self.client, identity: identity, comment: comment).encoded
        #expect(header.readBytes(length: 16)?.prefix(14) == [13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10, 0x21, 0])
        var fields: [UInt8: [UInt8]] = [:]
        while let type = header.readInteger(as: UInt8.self), let length = header.readInteger(as: UInt16.self) {
            fields[type] = header.readBytes(length: Int(length))
        }
        #expect(fields[5] == Self.client.bytes.bytes)
        #expect(fields[0xe0] == Array(identity.npub.utf8))
        #expect(fields[0xe1] == Array(String(repeating: "é", count: 128).utf8))
        let stranger = ProxyProtocolHeader(client: Self.client, identity: nil, comment: nil).encoded
        #expect(stranger.readableBytes == 16 + 3 + 32)
    }
}
