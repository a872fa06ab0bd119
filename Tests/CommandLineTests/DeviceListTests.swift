//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import Nostr
import NostrCrypto
import Testing
import Tunnel

@testable import nws

@Suite("Lists with devices and invites")
struct DeviceListTests {
    private let exit = SecretKey.generate().publicKey
    private let device = SecretKey.generate().publicKey

    private func invite(_ secret: InviteSecret, _ name: String, services: Set<UInt16>? = nil) -> AuthorizedKeys.Invite {
        AuthorizedKeys.Invite(secret, exit: self.exit, services: services, expires: nil, comment: name)
    }

    @Test("lines that an editor ended with CR LF are found and kept")
    func carriageReturns() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let secret = InviteSecret.random()
        let invite = self.invite(secret, "laptop")
        let path = try folder.write("keys", "# mine\r\n\(AuthorizedKeysLine.invite(invite).text)\r\n")
        let registry = FileDeviceRegistry(files: [AuthorizedKeysFile(path: path)])
        let grant = try registry.enrol(self.device, name: "", insteadOf: invite.derived)
        #expect(grant.comment == "laptop")
        let lines = try folder.text("keys").split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.count == 3 && lines[0] == "# mine" && lines[2].isEmpty)
        #expect(lines[1].contains(self.device.npub) && lines[1].hasSuffix(" laptop"))
    }

    @Test("an invite that several files contain enrols one device, in the first of them")
    func severalFiles() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let secret = InviteSecret.random()
        let invite = self.invite(secret, "phone", services: [22])
        let line = AuthorizedKeysLine.invite(invite).text + "\n"
        let files = try ["a", "b"].map { AuthorizedKeysFile(path: try folder.write($0, line)) }
        let registry = FileDeviceRegistry(files: files + [AuthorizedKeysFile(path: folder.file("missing"))])
        #expect(try registry.enrol(self.device, name: "x", insteadOf: invite.derived).services == [22])
        #expect(try folder.text("a").contains(self.device.npub))
        #expect(try folder.text("b").isEmpty)
        #expect(!folder.exists("missing"))
        let other = SecretKey.generate().publicKey
        #expect(throws: EnrolmentFailure.used) { try registry.enrol(other, name: "x", insteadOf: invite.derived) }
    }

    @Test("a list behind a symbolic link is changed, and the link stays")
    func symbolicLink() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let target = try folder.write("target", "# mine\n", mode: 0o640)
        let link = folder.file("link")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: target)
        try AuthorizedKeysFile(path: link).edit { $0.append("# yours") }
        #expect(try folder.text("target") == "# mine\n# yours\n")
        #expect(try folder.mode("target") == 0o640)
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link) == target)
    }
}
