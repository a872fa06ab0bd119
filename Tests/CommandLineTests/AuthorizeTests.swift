//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import Nostr
import NostrCrypto
import Testing
import Tunnel

@testable import nws

@Suite("Lists of authorized keys")
struct AuthorizeTests {
    private static let npub = SecretKey.generate().publicKey.npub
    private static let exit = ["exit", "--relay", "ws://127.0.0.1:9", "--backend", "127.0.0.1:9"]

    private static func authorize(_ file: String, _ arguments: [String]) throws -> String {
        try KeyCommand.Authorize.parse([file] + arguments).authorize()
    }

    @Test("an authorized key is a line with its options in a file that only its owner can read")
    func line() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let line = try Self.authorize(
            folder.file("keys"),
            [Self.npub, "--services", "22,80", "--expires", "2999-01-31", "--comment", "a  guest"]
        )
        #expect(line == "services=\"22,80\",expires=\"2999-01-31\" \(Self.npub) a guest")
        #expect(try folder.text("keys") == line + "\n")
        #expect(try folder.mode("keys") == 0o600)
    }

    @Test(
        "an invalid key, service or date is an error, and no file is written",
        arguments: [
            (["nsec1" + String(repeating: "q", count: 58)], "needs a public key"),
            (["NPUB", "--services", "http"], "--services"), (["NPUB", "--services", "0"], "--services"),
            (["NPUB", "--expires", "soon"], "expires"), (["NPUB", "--expires", "2020-01-31"], "has passed"),
        ]
    )
    func invalid(arguments: [String], message: String) throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let error = try #require(throws: CommandError.self) {
            try Self.authorize(folder.file("keys"), arguments.map { $0 == "NPUB" ? Self.npub : $0 })
        }
        #expect(error.status.rawValue == 1)
        #expect(error.message.contains(message))
        #expect(!folder.exists("keys"))
    }

    @Test("a secret key is not authorized, and the error does not contain it")
    func secretKey() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let nsec = NIP19.nsec(try SecretKey.generate().exposeBytes()).encoded
        let error = try #require(throws: CommandError.self) { try Self.authorize(folder.file("keys"), [nsec]) }
        #expect(error.status.rawValue == 1)
        #expect(error.message.contains("SECRET"))
        #expect(!error.message.contains(nsec))
        #expect(!folder.exists("keys"))
    }

    @Test("a key is authorized once")
    func once() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let path = try folder.write("keys", "# people")
        _ = try Self.authorize(path, [Self.npub])
        let error = try #require(throws: CommandError.self) { try Self.authorize(path, [Self.npub]) }
        #expect(error.status.rawValue == 1)
        #expect(error.message.contains("already contains this key"))
        #expect(try folder.text("keys") == "# people\n\(Self.npub)\n")
    }

    @Test("a list that cannot be read is not replaced")
    func unreadable() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let path = folder.file("keys")
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        let error = try #require(throws: CommandError.self) { try Self.authorize(path, [Self.npub]) }
        #expect(error.status.rawValue == 1)
        #expect(error.message.contains("cannot read"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: path).isEmpty)
    }

    @Test("a list behind a symbolic link is written where it is")
    func link() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        try folder.write("real", "# people\n", mode: 0o640)
        let path = folder.file("keys")
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: folder.file("real"))
        _ = try Self.authorize(path, [Self.npub])
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: path) == folder.file("real"))
        #expect(try folder.text("real") == "# people\n\(Self.npub)\n")
        #expect(try folder.mode("real") == 0o640)
    }

    // MARK: Reading

    @Test("an exit admits the keys of its lists and those that are given directly")
    func access() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let (listed, given) = (SecretKey.generate().publicKey, SecretKey.generate().publicKey)
        let path = try folder.write("keys", "services=\"22\" \(listed.npub) me\n", mode: 0o644)
        let configuration = try Invocation(Self.exit + ["--allow", path, given.npub])
            .configuration(of: ExitCommand.self)
        let access = try #require(configuration.access)
        #expect(access.allows(listed, port: 22, at: 0))
        #expect(!access.allows(listed, port: 23, at: 0))
        #expect(access.allows(given, port: 23, at: 0))
    }

    @Test(
        "a list with an invalid line is a configuration error that names the line",
        arguments: ["nonsense", "services=\"http\" NPUB", "NPUB\nNPUB"]
    )
    func invalidList(text: String) throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let list = "# people\n" + text.replacing("NPUB", with: Self.npub) + "\n"
        let path = try folder.write("keys", list)
        let refusal = try #require(try Invocation(Self.exit + ["--allow", path]).refusal())
        #expect(refusal.status == 78)
        #expect(refusal.message.hasPrefix("\(path), line "))
    }
}
