//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import NIOCore
import Tunnel

/// `nws ssh-config`
struct SSHConfigCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ssh-config",
        abstract: "Print or install the ssh configuration for .nostr names.",
        discussion: """
            With it, 'ssh home.nostr' connects to port 22 of the exit with the alias home, and scp, sftp, rsync and \
            git use .nostr names in the same way. It needs no running nws entry.
            """
    )

    @Flag(help: "Add the lines to ~/.ssh/config, unless they are there.")
    var install = false

    @Flag(help: "Remove the lines from ~/.ssh/config.")
    var remove = false

    private static let begin = "# >>> nws"
    private static let end = "# <<< nws"

    func validate() throws {
        guard !(self.install && self.remove) else {
            throw ValidationError("--install and --remove cannot be given together.")
        }
    }

    func run() async throws {
        try await reportingErrors {
            guard self.install || self.remove else { return Console.line(try Self.block()) }
            guard let home = KeyFile.home() else {
                throw CommandError.failure("cannot find the home directory: set HOME")
            }
            let path = URL(filePath: home + "/.ssh/config").resolvingSymlinksInPath().path
            let before = try Self.text(path)
            let rest = try Self.withoutBlock(before, path)
            // The first value that ssh finds for an option is used, so the block comes first.
            let after = self.install ? "\(Self.begin)\n\(try Self.block())\n\(Self.end)\n\(rest)" : rest
            guard after != before else {
                return Console.line(self.install ? "already in \(path)" : "not in \(path)")
            }
            try KeyFile.makeFolder(home + "/.ssh")
            do throws(IOError) {
                let mode = try? FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
                try StateFile.save(Array(after.utf8), to: path, mode: UInt32(mode ?? 0o600))
            } catch {
                throw CommandError.failure("cannot write \(path): \(unsafe String(cString: strerror(error.errnoCode)))")
            }
            Console.line(self.install ? "added to \(path)" : "removed from \(path)")
        }
    }

    private static func text(_ path: String) throws -> String {
        guard FileManager.default.fileExists(atPath: path) else { return "" }
        guard let data = FileManager.default.contents(atPath: path), let text = String(data: data, encoding: .utf8)
        else {
            throw CommandError.failure("cannot read \(path)")
        }
        return text
    }

    /// The text without the block that this command has added.
    private static func withoutBlock(_ text: String, _ path: String) throws -> String {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)[...]
        guard let first = lines.firstIndex(where: { $0 == Self.begin }) else { return text }
        guard let last = lines[first...].firstIndex(where: { $0 == Self.end }) else {
            throw CommandError.failure("\(path): the line \(Self.end) is missing; remove the lines of nws by hand")
        }
        lines.removeSubrange(first...last)
        return lines.joined(separator: "\n")
    }

    private static func block() throws -> String {
        // ssh replaces sequences that begin with a percent sign.
        let command = Installation.command.replacingOccurrences(of: "%", with: "%%")
        let program = command.contains { $0.isWhitespace } ? "\"\(command)\"" : command
        return """
            Host *.nostr
                ProxyCommand \(program) connect %h:%p
            """
    }
}
