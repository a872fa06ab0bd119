//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// A short secret in a file that only its owner can read.
enum SecretFile {
    /// Maximum size of the file in bytes.
    private static let maximumLength = 4_096
    /// Every permission of the group and of others.
    private static let forbiddenPermissions = 0o077
    /// As ``forbiddenPermissions``, but the group may read.
    private static let permissionsForbiddenToCredentials = 0o037

    /// Reads a secret, without surrounding whitespace.
    ///
    /// - Parameter source: The option or a description of the file, for error messages.
    static func read(_ path: String, source: String) throws -> String {
        let resolved = URL(fileURLWithPath: path).resolvingSymlinksInPath().path
        let attributes: [FileAttributeKey: Any]
        do {
            attributes = try FileManager.default.attributesOfItem(atPath: resolved)
        } catch {
            throw CommandError.configuration("\(source): cannot read \(path): \(errorReason(error))")
        }
        guard attributes[.type] as? FileAttributeType == .typeRegular else {
            throw CommandError.configuration("\(source): \(path) is not a regular file")
        }
        // systemd grants access to credentials by an access control list, which appears as group permissions.
        let folder = ProcessInfo.processInfo.environment["CREDENTIALS_DIRECTORY"] ?? ""
        let isCredential = !folder.isEmpty && path.hasPrefix(folder + "/")
        let forbidden = isCredential ? Self.permissionsForbiddenToCredentials : Self.forbiddenPermissions
        guard let mode = attributes[.posixPermissions] as? Int, mode & forbidden == 0 else {
            throw CommandError.configuration(
                "\(source): \(path) is accessible by other users; run: chmod 600 '\(path)'"
            )
        }
        guard let data = FileManager.default.contents(atPath: path), data.count <= Self.maximumLength else {
            throw CommandError.configuration(
                "\(source): \(path) must be readable and have at most \(Self.maximumLength) bytes"
            )
        }
        return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
