//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import Tunnel

/// What `--check-config` finds besides syntax: whether files and folders can be used, and services answer.
///
/// A problem that keeps the role from starting, or from doing what is configured, is an error. Others are warnings.
struct ConfigurationProbe {
    private(set) var errors: [String] = []
    private(set) var warnings: [String] = []

    /// Checks a file that the role appends to or replaces.
    ///
    /// - Parameters:
    ///   - path: The file.
    ///   - what: Describes the file.
    ///   - isRequired: Whether the role cannot start without it.
    ///   - isFolder: Whether it is a folder.
    mutating func checkWritable(_ path: String, _ what: String, isRequired: Bool, isFolder: Bool = false) {
        let files = FileManager.default
        let resolved = URL(filePath: path).resolvingSymlinksInPath().path
        var isDirectory: ObjCBool = false
        if unsafe files.fileExists(atPath: resolved, isDirectory: &isDirectory) {
            guard isDirectory.boolValue == isFolder else {
                let problem = isFolder ? "is not a folder" : "is a folder, and not a file"
                return self.note("\(what): \(path) \(problem)", isError: isRequired)
            }
            guard !files.isWritableFile(atPath: resolved) else { return }
            return self.note("\(what): \(path) is not writable for this user", isError: isRequired)
        }
        let folder = URL(filePath: resolved).deletingLastPathComponent().path
        guard files.fileExists(atPath: folder) else {
            return self.note("\(what): the folder \(folder) does not exist", isError: isRequired)
        }
        if !files.isWritableFile(atPath: folder) {
            self.note(
                "\(what): \(path) cannot be created, because \(folder) is not writable for this user",
                isError: isRequired
            )
        }
    }

    /// Checks that the services accept connections. They may be started later, so this is a warning.
    mutating func checkServices(_ services: ExitServices) async {
        for (port, backend) in await ServiceCheck.silentServices(services) {
            self.note("service \(port): cannot connect to \(backend)", isError: false)
        }
        if let fallback = services.fallback, await ServiceCheck.isSilent(fallback) {
            self.note("backend: cannot connect to \(fallback)", isError: false)
        }
    }

    private mutating func note(_ text: String, isError: Bool) {
        if isError { self.errors.append(text) } else { self.warnings.append(text) }
    }

    /// Prints the findings.
    ///
    /// - Throws: ``CommandError`` if there are errors.
    func report() throws {
        for warning in self.warnings { Console.line("warning: \(warning)") }
        for error in self.errors { Console.line("error: \(error)") }
        guard self.errors.isEmpty else {
            throw CommandError.configuration("the configuration cannot be used, see above")
        }
        Console.line("configuration: ok")
    }
}
