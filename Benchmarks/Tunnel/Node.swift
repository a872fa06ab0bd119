//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// A running nws process that is measured.
final class Node {
    let process = Process()
    let name: String
    private let output: URL

    init(_ name: String, program: String, _ arguments: [String], in folder: URL) throws {
        self.name = name
        self.output = folder.appendingPathComponent("\(name).out")
        _ = FileManager.default.createFile(atPath: self.output.path, contents: nil)
        let log = folder.appendingPathComponent("\(name).log")
        _ = FileManager.default.createFile(atPath: log.path, contents: nil)
        self.process.executableURL = URL(fileURLWithPath: program)
        self.process.arguments = arguments
        self.process.currentDirectoryURL = folder
        var environment = ProcessInfo.processInfo.environment
        for name in ["NOSTR_RELAYS", "NOSTR_PRIVATE_KEY", "BACKEND_HOST", "PUBLIC", "PUBLIC_ADDRESS"] {
            environment[name] = nil
        }
        environment["HOME"] = folder.path
        self.process.environment = environment
        self.process.standardOutput = try FileHandle(forWritingTo: self.output)
        self.process.standardError = try FileHandle(forWritingTo: log)
        try self.process.run()
    }

    /// Waits up to 20 s for a line `key: value` on standard output; returns the value.
    func value(_ key: String) throws -> String {
        let deadline = seconds() + 20
        while seconds() < deadline {
            let text = try String(contentsOf: self.output, encoding: .utf8)
            for line in text.split(separator: "\n") where line.hasPrefix("\(key): ") && text.hasSuffix("\n") {
                return String(line.dropFirst(key.count + 2))
            }
            guard self.process.isRunning else { break }
            usleep(20_000)
        }
        throw BlockingSocket.Failure(what: "\(self.name) did not print a line '\(key): …'")
    }

    /// Processor time used so far, in seconds.
    var processorTime: Double {
        let text = (try? String(contentsOfFile: "/proc/\(self.process.processIdentifier)/stat", encoding: .utf8)) ?? ""
        let fields = text.split(separator: ")").last?.split(separator: " ") ?? []
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return 0 }
        return (user + system) / Double(sysconf(CInt(_SC_CLK_TCK)))
    }

    /// Resident memory, in bytes.
    var memory: Double {
        let text = (try? String(contentsOfFile: "/proc/\(self.process.processIdentifier)/statm", encoding: .utf8)) ?? ""
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0
        return pages * Double(sysconf(CInt(_SC_PAGESIZE)))
    }

    func stop() {
        self.process.terminate()
        self.process.waitUntilExit()
    }
}
