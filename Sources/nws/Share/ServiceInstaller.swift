//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// Installs and removes the service that starts `nws share` at boot.
struct ServiceInstaller {
    let service: SystemService

    /// - Parameter arguments: The arguments of `nws share`.
    init(arguments: [String]) throws {
        guard let home = KeyFile.home() else { throw CommandError.failure("cannot find the home directory: set HOME") }
        self.service = SystemService(
            manager: .current,
            isSystem: geteuid() == 0,
            home: home,
            user: NSUserName(),
            command: [Installation.path, "share"] + arguments
        )
        if self.service.isSystem, let folder = Self.closedFolder(above: Installation.path) {
            throw CommandError.failure(
                "the system service runs as a separate user that cannot read \(folder); install nws in /usr/local/bin, or run this command without sudo"
            )
        }
    }

    /// The arguments of `nws share` for the service: with the options from variables and files, which the service does not
    /// have, and with absolute paths, because its working directory is another one.
    ///
    /// - Parameter relays: The relays from `NOSTR_RELAYS`; empty if the arguments name some.
    static func arguments(_ layered: [String], relays: [String]) throws -> [String] {
        let catalog = try OptionCatalog()
        let command = catalog.command(of: ["share"]).command
        var isFile = false
        let own = layered.filter { $0 != "--install" }.map { argument -> String in
            if isFile {
                isFile = false
                return Self.absolute(argument)
            }
            guard argument.hasPrefix("--") else { return argument }
            let parts = argument.dropFirst(2).split(separator: "=", maxSplits: 1).map(String.init)
            guard let name = parts.first, command.option(name)?.valueName == "file" || name == "config" else {
                return argument
            }
            isFile = parts.count == 1
            return isFile ? argument : "--\(name)=\(Self.absolute(parts[1]))"
        }
        return own + relays.map { "--relay=\($0)" }
    }

    private static func absolute(_ path: String) -> String {
        path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
    }

    /// The folder that keeps other users from running a program; nil if there is none.
    private static func closedFolder(above path: String) -> String? {
        var folder = URL(filePath: path).deletingLastPathComponent().path
        while folder != "/" {
            let mode = try? FileManager.default.attributesOfItem(atPath: folder)[.posixPermissions] as? Int
            if let mode, mode & 0o001 == 0 { return folder }
            folder = URL(filePath: folder).deletingLastPathComponent().path
        }
        return nil
    }

    /// Writes the service's file, and enables and starts the service.
    func install() throws {
        let path = self.service.path
        do {
            try FileManager.default.createDirectory(
                at: URL(filePath: path).deletingLastPathComponent(),
                withIntermediateDirectories: true
            )
            try Data(self.service.text.utf8).write(to: URL(filePath: path), options: .atomic)
        } catch {
            throw CommandError.failure("cannot write \(path): \(errorReason(error))")
        }
        Console.line("installed: \(path)")
        let failed = self.service.enabling.filter { !Self.run($0) }
        guard failed.isEmpty else {
            throw CommandError.failure(
                "the service was installed, but these commands failed; run them, or start the service in another way: "
                    + failed.map { $0.joined(separator: " ") }.joined(separator: "; ")
            )
        }
        Console.line("'nws share' runs now, and starts at boot.")
        Console.line("")
        Console.line("Invite a device:  \(Installation.typed) invite")
        Console.line("Show its log:     \(self.service.log)")
        Console.line("Remove it:        \(Installation.typed) share --uninstall")
    }

    /// Stops and disables the service, and removes its file. The key and the devices stay.
    func uninstall() throws {
        let path = self.service.path
        guard FileManager.default.fileExists(atPath: path) else {
            throw CommandError.failure("not installed: \(path) does not exist")
        }
        for command in self.service.disabling where !Self.run(command) {
            Console.error("nws: failed: \(command.joined(separator: " "))")
        }
        do {
            try FileManager.default.removeItem(atPath: path)
        } catch {
            throw CommandError.failure("cannot remove \(path): \(errorReason(error))")
        }
        Console.line("removed: \(path)")
        Console.line("The key and the list of devices stay in \(KeyFile.stateFolder()).")
    }

    /// Runs a command. Returns whether it succeeded. Its output goes to that of this process.
    private static func run(_ command: [String]) -> Bool {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = command
        do {
            try process.run()
        } catch {
            return false
        }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }
}
