//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Checks that other users of the machine cannot change a file that configures the program.
package enum FileOwnership {
    /// Checks a file that the user has named.
    ///
    /// - Throws: ``SettingsFileError`` if every user of the machine may write the file. A file that does not exist passes.
    package static func checkNotWritableByAll(_ path: String) throws(SettingsFileError) {
        _ = try Self.mode(of: path)
    }

    /// Checks a file that is read because of its name alone, such as `.env` in the working directory.
    ///
    /// - Throws: ``SettingsFileError`` if every user of the machine may write the file, or if it belongs to another user
    ///   than this process and root. A file that does not exist passes.
    package static func checkOwn(_ path: String) throws(SettingsFileError) {
        guard let status = try Self.mode(of: path) else { return }
        guard status.st_uid == geteuid() || status.st_uid == 0 else {
            throw SettingsFileError(
                "\(path): belongs to another user (uid \(status.st_uid)), who could replace your key; remove the file, take it over with chown, or start in another folder"
            )
        }
    }

    private static func mode(of path: String) throws(SettingsFileError) -> stat? {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return nil }
        // The permissions of a directory or device, such as /dev/stdin, mean something else.
        guard status.st_mode & S_IFMT == S_IFREG, status.st_mode & S_IWOTH != 0 else { return status }
        throw SettingsFileError("\(path): every user of this machine can change the file; run: chmod o-w '\(path)'")
    }
}
