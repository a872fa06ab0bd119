//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// A folder for the files of one test.
struct TemporaryFolder {
    let path: String

    /// Creates the folder. The test removes it.
    init() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "nws-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        self.path = folder.path(percentEncoded: false)
    }

    func remove() { try? FileManager.default.removeItem(atPath: self.path) }

    /// The path of a file in the folder.
    func file(_ name: String) -> String { self.path + "/" + name }

    /// Writes a file. Returns its path.
    @discardableResult
    func write(_ name: String, _ text: String, mode: Int = 0o600) throws -> String {
        let path = self.file(name)
        try Data(text.utf8).write(to: URL(filePath: path))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        return path
    }

    func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: self.file(name)) }

    /// The text of a file.
    func text(_ name: String) throws -> String {
        String(decoding: try Data(contentsOf: URL(filePath: self.file(name))), as: UTF8.self)
    }

    /// The permissions of a file.
    func mode(_ name: String) throws -> Int? {
        try FileManager.default.attributesOfItem(atPath: self.file(name))[.posixPermissions] as? Int
    }
}
