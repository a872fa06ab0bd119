//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto
import Testing

@testable import Tunnel

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite("Pinned exits")
struct ExitPinsTests {
    private let path = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path()
    private let exit = SecretKey.generate().publicKey

    @Test("pins survive a restart, and all of them can be removed")
    func file() throws {
        defer { try? FileManager.default.removeItem(atPath: self.path) }
        let pins = try ExitPins(path: self.path)
        #expect(try pins.insert(self.exit))
        #expect(try ExitPins(path: self.path).contains(self.exit))
        #expect(try pins.remove(self.exit))
        #expect(try ExitPins(path: self.path).all.isEmpty)
    }

    @Test("an empty file, or one with anything else than keys, is an error", arguments: ["", "npub1", "\u{0}\u{1}"])
    func damaged(text: String) throws {
        defer { try? FileManager.default.removeItem(atPath: self.path) }
        try Data(text.utf8).write(to: URL(filePath: self.path))
        #expect(throws: DamagedStateFile.self) { try ExitPins(path: self.path) }
    }

    @Test("an exit stays pinned while the process runs, although the file cannot be written")
    func unwritable() throws {
        let pins = try ExitPins(path: "/nonexistent/folder/exits")
        #expect(throws: (any Error).self) { try pins.insert(self.exit) }
        #expect(pins.contains(self.exit))
    }

    @Test("exits that could not be written are written with the next one")
    func recovery() throws {
        let folder = self.path + "-folder"
        let pins = try ExitPins(path: folder + "/exits")
        #expect(throws: (any Error).self) { try pins.insert(self.exit) }
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        #expect(try pins.insert(SecretKey.generate().publicKey))
        #expect(try ExitPins(path: folder + "/exits").contains(self.exit))
    }
}
