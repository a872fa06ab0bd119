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
            command: [Installation.path, "share"] + arguments.map(Self.absolute)
        )
        if self.service.isSystem, let folder = Self.closedFolder(above: Installation.path) {
            throw CommandError.failure(
                "the system service runs as a user of its own, which has no access to \(folder): install nws in /usr/local/bin, or run this command as the user who is to run the service"
            )
        }
    }

    /// An argument that names a file relative to the working directory, which the service does not have.
    private static func absolute(_ argument: String) -> String {
        guard !argument.hasPrefix("/"), !argument.hasPrefix("-"), UInt16(argument) == nil,
            FileManager.default.fileExists(atPath: argument)
        else { return argument }
        return FileManager.default.currentDirectoryPath + "/" + argument
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
        Console.line("Undo:             \(Installation.typed) share --uninstall")
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
