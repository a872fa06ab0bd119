//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto
import Testing

@testable import Tunnel

@Suite("Authorized keys")
struct AuthorizedKeysTests {
    private static let first = SecretKey.generate().publicKey
    private static let second = SecretKey.generate().publicKey

    @Test("a listed key may use what its line allows, and other keys nothing")
    func grants() throws {
        let keys = try AuthorizedKeys(
            parsing: """
                # friends
                \(Self.first.npub) laptop  of mine
                  services="22, 80",expires="2027-01-31" \(Self.second.hex)

                """
        )
        #expect(keys.grants[Self.first]?.comment == "laptop of mine")
        #expect(keys.allows(Self.first, port: 9, at: 0))
        #expect(keys.allows(Self.first, port: nil, at: 1 << 40))
        #expect(keys.allows(Self.second, port: 80, at: 1_801_353_599))
        #expect(!keys.allows(Self.second, port: 80, at: 1_801_353_600))
        #expect(!keys.allows(Self.second, port: 81, at: 0))
        #expect(!keys.allows(Self.second, port: nil, at: 0))
        #expect(!keys.allows(nil, port: 80, at: 0))
        #expect(!keys.allows(SecretKey.generate().publicKey, port: 80, at: 0))
    }

    @Test(
        "invalid lines are rejected with their number",
        arguments: [
            "npub1nonsense", "services=\"22\"", "services=\"x\" KEY", "services=\"0\" KEY", "expires=\"soon\" KEY",
            "from=\"10.0.0.0/8\" KEY", "KEY services=\"22\"", "KEY a expires=\"2027-01-01\"", "services=\"22 KEY",
            "services KEY", "expires=\"2027-02-30\" KEY", "expires=\"2027-13-01\" KEY",
            "services=\"80\",services=\"81\" KEY", "expires=\"2027-01-01\",services=\"1\",EXPIRES=\"2028-01-01\" KEY",
        ]
    )
    func malformed(line: String) {
        let text = "\n" + line.replacing("KEY", with: Self.first.npub)
        #expect(throws: AuthorizedKeys.ParsingError.self) { try AuthorizedKeys(parsing: text) }
        do {
            _ = try AuthorizedKeys(parsing: text)
        } catch {
            #expect(error.line == 2)
        }
    }

    @Test("lines may end as they do elsewhere")
    func lineEnds() throws {
        let keys = try AuthorizedKeys(parsing: "# friends\r\n\(Self.first.npub)\r\n\(Self.second.npub) two\r\n")
        #expect(keys.grants.count == 2)
        #expect(keys.grants[Self.second]?.comment == "two")
    }

    @Test("a duplicate key is rejected")
    func twice() {
        #expect(throws: AuthorizedKeys.ParsingError(line: 2, reason: "the key is already in the list")) {
            try AuthorizedKeys(parsing: "\(Self.first.npub)\n\(Self.first.hex)")
        }
    }

    @Test("services by port")
    func services() {
        let web = Backend.tcp(host: "127.0.0.1", port: 8_080)
        let shell = Backend.unix(path: "/run/shell")
        let both = ExitServices([80: web, 22: shell])
        #expect(both.backend(for: 22) == shell)
        #expect(both.backend(for: 23) == nil)
        #expect(both.backend(for: nil) == web)
        #expect(ExitServices([22: shell]).backend(for: nil) == shell)
        #expect(ExitServices([22: shell], fallback: web).backend(for: 9) == web)
        #expect(ExitServices([21: shell, 22: shell]).backend(for: nil) == nil)
    }

    @Test("an invite is parsed with its expiration and comment, and a damaged one is an error")
    func invites() throws {
        let invite = AuthorizedKeys.Invite(
            derived: [UInt8](repeating: 0xab, count: Credential.derivedLength),
            verifier: .sha256(of: [1])
        )
        let hex = Hex.encode(invite.derived) + invite.verifier.hex
        let options = "services=\"22,80\",expires=\"2027-01-31\""
        let other = Hex.encode([UInt8](repeating: 0xcd, count: Credential.derivedLength)) + invite.verifier.hex
        let access = try AuthorizedKeys(parsing: "invite:\(hex)\n\(options) invite:\(other) my phone\n")
        #expect(access.invites[0] == invite)
        #expect(access.invites[1].verifier == invite.verifier)
        #expect(access.invites[1].services == [22, 80])
        #expect(access.invites.map(\.comment) == ["", "my phone"])
        #expect(access.invites[0].isValid(at: .max))
        #expect(!access.invites[1].isValid(at: 1_900_000_000))
        #expect(access.grants.isEmpty)
        for line in [
            "invite:", "invite:ab", "invite:\(Hex.encode(invite.derived))", "from=\"x\" invite:\(hex)",
            "invite:\(hex)\ninvite:\(hex)",
        ] {
            #expect(throws: AuthorizedKeys.ParsingError.self) { try AuthorizedKeys(parsing: line) }
        }
    }

    @Test("a line is written as it was read")
    func lines() throws {
        let key = try SecretKey(.sha256(of: [1])).publicKey
        let hex = String(repeating: "ab", count: Credential.derivedLength) + Bytes32.sha256(of: [1]).hex
        for text in [
            key.npub, "\(key.npub) laptop", "services=\"22,80\" \(key.npub) my laptop",
            "services=\"22\",expires=\"2027-01-31\",added=\"2026-11-29T10:00:01Z\" \(key.npub) guest",
            "invite:\(hex)", "services=\"22\",expires=\"2026-11-30T10:00:00Z\" invite:\(hex) phone",
        ] {
            #expect(try AuthorizedKeysLine(parsing: text[...]).text == text)
        }
    }

    @Test(
        "a name that a device chose cannot change the meaning of its line",
        arguments: [
            "laptop", "", "a\nservices=\"22\"", "services=\"1\" expires=\"2020-01-01\"", "\"", "#", "x\u{0}\u{1b}[31m",
            "ü ñ 名",
            String(repeating: "x", count: 1_000), "\u{2028}npub1", "invite:ab", "\u{e0001}\u{200b}",
        ]
    )
    func comments(text: String) throws {
        let key = try SecretKey(.sha256(of: [1])).publicKey
        let grant = AuthorizedKeys.Grant(services: [22], comment: AuthorizedKeysLine.comment(text))
        let line = AuthorizedKeysLine.key(key, grant)
        #expect(try AuthorizedKeysLine(parsing: line.text[...]) == line)
        #expect(try AuthorizedKeys(parsing: line.text + "\n").grants == [key: grant])
        #expect(grant.comment.count <= 64)
    }
}
