//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Nostr
import NostrCrypto
import Testing
import Tunnel
import TunnelProtocol

@testable import nws

@Suite("Files with keys and passwords")
struct SecretFileTests {
    private static let exit = ["exit", "--relay", "ws://127.0.0.1:9", "--backend", "127.0.0.1:9"]

    private static func nsec(_ key: SecretKey) throws -> String { NIP19.nsec(try key.exposeBytes()).encoded }

    // MARK: Reading

    @Test("a key file contains an nsec or 64 hex digits")
    func forms() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let key = SecretKey.generate()
        for text in [try Self.nsec(key), try key.exposeBytes().hex] {
            let path = try folder.write("some.key", text + "\n")
            #expect(try KeyFile(path: path).read().publicKey == key.publicKey)
        }
    }

    @Test("a key file that other users can read is refused", arguments: [0o640, 0o604, 0o660])
    func openKeyFile(mode: Int) throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let path = try folder.write("exit.key", Self.nsec(.generate()), mode: mode)
        let refusal = try #require(try Invocation(Self.exit + ["--key-file", path]).refusal())
        #expect(refusal.status == 78)
        #expect(refusal.message.contains("\(path) is accessible by other users"))
    }

    @Test(
        "a key file without a key is refused and not changed, and the error does not contain its text",
        arguments: [
            "garbage", "", String(repeating: "0", count: 64), "nsec1" + String(repeating: "q", count: 58),
            String(repeating: "f", count: 63),
        ]
    )
    func invalidKeyFile(text: String) throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let path = try folder.write("exit.key", text)
        let refusal = try #require(try Invocation(Self.exit + ["--key-file", path]).refusal())
        #expect(refusal.status == 78)
        #expect(refusal.message.contains(path))
        #expect(text.isEmpty || !refusal.message.contains(text))
        #expect(try folder.text("exit.key") == text)
    }

    @Test("reading a missing key file fails and does not create it")
    func missing() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let error = try #require(throws: CommandError.self) { try KeyFile(path: folder.file("none.key")).read() }
        #expect(error.status.rawValue == 78)
        #expect(!folder.exists("none.key"))
    }

    // MARK: Creating

    @Test("a new key file is only for its owner, and contains the key that was returned")
    func create() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let file = KeyFile(path: folder.file("fresh.key"))
        let key = try file.create()
        #expect(try folder.mode("fresh.key") == 0o600)
        #expect(try folder.text("fresh.key") == Self.nsec(key) + "\n")
        #expect(try file.read().publicKey == key.publicKey)
    }

    @Test("an existing key file is never overwritten")
    func neverOverwritten() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let path = try folder.write("there.key", "whatever it is")
        let error = try #require(throws: CommandError.self) { try KeyFile(path: path).create() }
        #expect(error.status.rawValue == 78)
        #expect(try folder.text("there.key") == "whatever it is")
    }

    @Test("an exit creates its key file and folder for its owner only, and keeps the key")
    func createdByExit() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let arguments = Self.exit + ["--key-file", folder.file("new/folder/exit.key")]
        let first = try Invocation(arguments).configuration(of: ExitCommand.self).secretKey.publicKey
        #expect(try folder.mode("new/folder/exit.key") == 0o600)
        #expect(try folder.mode("new/folder") == 0o700)
        #expect(try Invocation(arguments).configuration(of: ExitCommand.self).secretKey.publicKey == first)
    }

    @Test("checking the configuration does not create a key file")
    func checked() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let arguments = Self.exit + ["--key-file", folder.file("exit.key"), "--check-config"]
        _ = try Invocation(arguments).configuration(of: ExitCommand.self)
        #expect(!folder.exists("exit.key"))
    }

    // MARK: Other files

    @Test("the key for relays must not be the identity")
    func sameKey() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let path = try folder.write("some.key", Self.nsec(.generate()))
        let refusal = try #require(try Invocation(["entry", "--identity", path, "--auth-key", path]).refusal())
        #expect(refusal.status == 78)
        #expect(refusal.message.contains("--auth-key and --identity are the same key"))
    }

    @Test("a file with the credentials of clients contains user:password")
    func credentials() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let path = try folder.write("credentials", "alice:in wonderland\n")
        let arguments = ["entry", "--credentials-file", path]
        let credentials = try Invocation(arguments).configuration(of: EntryCommand.self).credentials
        #expect(credentials?.user == Array("alice".utf8))
        #expect(credentials?.password == Array("in wonderland".utf8))
    }

    @Test(
        "a file with credentials that others can read, or without them, is refused",
        arguments: [
            ("alice:in wonderland\n", 0o644, "is accessible by other users"),
            ("alice\n", 0o600, "must contain user:password"), (":password\n", 0o600, "must contain user:password"),
            (String(repeating: "a", count: 256) + ":b", 0o600, "at most 255 bytes"),
        ]
    )
    func invalidCredentials(text: String, mode: Int, message: String) throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let path = try folder.write("credentials", text, mode: mode)
        let refusal = try #require(try Invocation(["entry", "--credentials-file", path]).refusal())
        #expect(refusal.status == 78)
        #expect(refusal.message.contains(message))
        #expect(!refusal.message.contains("wonderland"))
    }
}
