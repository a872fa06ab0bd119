//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import Nostr
import NostrCrypto
import SettingsFiles
import Tunnel

/// The environment, and below it the `.env` file of the working directory.
///
/// The names are those that users of the reference have set.
struct Settings {
    private let values: [String: String]
    /// What of the file was passed over.
    let problems: [String]

    /// Variables beside NWS_… that are ours.
    private static let own: Set<String> = [
        "NOSTR_RELAYS", "NOSTR_PRIVATE_KEY", "BACKEND_HOST", "PUBLIC", "PUBLIC_ADDRESS",
    ]

    private static func isOwn(_ name: String) -> Bool { name.hasPrefix("NWS_") || Self.own.contains(name) }

    init(environment: [String: String] = ProcessInfo.processInfo.environment, dotEnv path: String = ".env") throws {
        var values: [String: String] = [:]
        if FileManager.default.fileExists(atPath: path) {
            let file = try CommandError.explainingFiles { try EnvironmentFile(path: path, isOwn: Self.isOwn) }
            values = file.values
            self.problems = file.problems
        } else {
            self.problems = []
        }
        self.values = values.merging(environment) { _, new in new }
    }

    /// All of them.
    var all: [String: String] { self.values }

    /// A value that is set and not empty.
    subscript(name: String) -> String? {
        guard let value = self.values[name]?.trimmingCharacters(in: .whitespaces), !value.isEmpty else { return nil }
        return value
    }

    // MARK: Values

    /// `NOSTR_RELAYS`: URLs separated by semicolons. Options win.
    func relays(_ options: [String]) throws -> [RelayURL] {
        if !options.isEmpty { return try options.map { try Self.relay($0, source: "--relay") }.removingDuplicates() }
        guard let value = self["NOSTR_RELAYS"] else { return [] }
        return try value.split(separator: ";").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
            .map { try Self.relay($0, source: "NOSTR_RELAYS") }.removingDuplicates()
    }

    static func relay(_ text: String, source: String) throws -> RelayURL {
        do {
            return try RelayURL(text)
        } catch {
            throw CommandError.configuration("\(source): \(text) is not the URL of a relay: \(error)")
        }
    }

    /// `BACKEND_HOST`, under the option.
    func backend(_ option: String?) throws -> Backend? {
        guard
            let (text, source) = option.map({ ($0, "--backend") }) ?? self["BACKEND_HOST"].map({ ($0, "BACKEND_HOST") })
        else { return nil }
        return try Self.backend(text, source: source)
    }

    /// `HOST:PORT`, or `unix:PATH`.
    static func backend(_ text: String, source: String) throws -> Backend {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst("unix:".count))
            // What a socket address has room for.
            guard path.hasPrefix("/"), path.utf8.count < 108 else {
                throw CommandError.configuration(
                    "\(source): \(text): expected unix: and an absolute path of at most 107 bytes"
                )
            }
            return .unix(path: path)
        }
        let address = try HostAndPort(text, source: source)
        guard address.port > 0 else { throw CommandError.configuration("\(source): the port of \(text) is 0") }
        return .tcp(host: address.host, port: address.port)
    }

    /// `PORT=BACKEND` of each `--service`, and the backend for all other ports.
    func services(_ options: [String], backend: String?) throws -> ExitServices {
        var services = ExitServices(fallback: try self.backend(backend))
        for option in options {
            let parts = option.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2, let port = UInt16(parts[0]), port > 0 else {
                throw CommandError.configuration("--service: \(option): expected PORT=HOST:PORT or PORT=unix:PATH")
            }
            guard services.byPort[port] == nil else {
                throw CommandError.configuration("--service: port \(port) has two backends")
            }
            services.byPort[port] = try Self.backend(parts[1], source: "--service")
        }
        return services
    }

    /// A variable that is true or false; false if it is not set.
    func flag(_ name: String) throws -> Bool {
        guard let value = self[name] else { return false }
        switch value.lowercased() {
        case "0", "f", "false", "no": return false
        case "1", "t", "true", "yes": return true
        default: throw CommandError.configuration("\(name): \(value) is neither true nor false")
        }
    }
}

/// `HOST:PORT`, an IPv6 address in brackets.
struct HostAndPort {
    let host: String
    let port: Int

    init(_ text: String, source: String) throws {
        func fail(_ what: String) -> CommandError {
            .configuration("\(source): \(text): \(what); expected HOST:PORT, [v6 address]:PORT")
        }
        guard !text.contains("://") else { throw fail("there is a scheme in it") }
        guard let colon = text.lastIndex(of: ":") else { throw fail("there is no port") }
        var host = String(text[..<colon])
        guard let port = Int(text[text.index(after: colon)...]), (0...65_535).contains(port) else {
            throw fail("the port is not a number from 0 to 65535")
        }
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
        } else if host.contains(":") {
            throw fail("an IPv6 address belongs in brackets")
        }
        guard !host.isEmpty else { throw fail("there is no host") }
        self.host = host
        self.port = port
    }
}
