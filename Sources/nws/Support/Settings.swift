//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NIOConcurrencyHelpers
import Nostr
import NostrCrypto
import SettingsFiles
import Tunnel

/// The environment variables of the process and the `.env` file in the working directory. The environment has priority.
///
/// The variables without the prefix `NWS_` are those of the reference implementation.
struct Settings {
    private let values: [String: String]
    /// Lines of the file that were ignored because they are invalid.
    let problems: [String]

    /// Variables of this program without the prefix `NWS_`.
    private static let own: Set<String> = [
        "NOSTR_RELAYS", "NOSTR_PRIVATE_KEY", "BACKEND_HOST", "PUBLIC", "PUBLIC_ADDRESS",
    ]

    private static func isOwn(_ name: String) -> Bool { name.hasPrefix("NWS_") || Self.own.contains(name) }

    init(environment: [String: String] = ProcessInfo.processInfo.environment, dotEnv path: String = ".env") throws {
        var values: [String: String] = [:]
        if FileManager.default.fileExists(atPath: path) {
            let file = try CommandError.explainingFiles {
                try FileOwnership.checkOwn(path)
                return try EnvironmentFile(path: path, isOwn: Self.isOwn)
            }
            values = file.values
            self.problems = file.problems
        } else {
            self.problems = []
        }
        self.values = values.merging(environment) { _, new in new }
    }

    /// All variables.
    var all: [String: String] { self.values }

    /// A value that is set and not empty.
    subscript(name: String) -> String? {
        guard let value = self.values[name]?.trimmingCharacters(in: .whitespaces), !value.isEmpty else { return nil }
        return value
    }

    // MARK: Values

    /// The relays of `--relay`, or without that option those of `NOSTR_RELAYS`, which are separated by semicolons.
    func relays(_ options: [String]) throws -> [RelayURL] {
        if !options.isEmpty { return try options.map { try Self.relay($0, source: "--relay") }.removingDuplicates() }
        guard let value = self["NOSTR_RELAYS"] else { return [] }
        return try value.split(separator: ";").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
            .map { try Self.relay($0, source: "NOSTR_RELAYS") }.removingDuplicates()
    }

    /// Relays without `ws` or `wss`, whose URLs were printed.
    private static let explained = NIOLockedValueBox<Set<String>>([])

    static func relay(_ text: String, source: String) throws -> RelayURL {
        let text = text.trimmingCharacters(in: .whitespacesAndNewlines)
        do {
            let url = try RelayURL(text)
            // Once, although the options are read more than once.
            if !text.lowercased().hasPrefix("ws"), Self.explained.withLockedValue({ $0.insert(text).inserted }) {
                Console.error(Console.printable("nws: \(source): \(text) is read as \(url)"))
            }
            return url
        } catch {
            throw CommandError.configuration("\(source): \(text) is not a relay URL: \(error)")
        }
    }

    /// The service of `--backend`, or without that option that of `BACKEND_HOST`.
    func backend(_ option: String?) throws -> Backend? {
        guard
            let (text, source) = option.map({ ($0, "--backend") }) ?? self["BACKEND_HOST"].map({ ($0, "BACKEND_HOST") })
        else { return nil }
        return try Self.backend(text, source: source)
    }

    /// Parses `HOST:PORT` or `unix:PATH`.
    static func backend(_ text: String, source: String) throws -> Backend {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst("unix:".count))
            // `sun_path` of a Unix socket address has 108 bytes on Linux, including the terminating zero.
            guard path.hasPrefix("/"), path.utf8.count < 108 else {
                throw CommandError.configuration(
                    "\(source): \(text): needs unix: and an absolute path of at most 107 bytes"
                )
            }
            return .unix(path: path)
        }
        // A bare port is one of this machine.
        if let port = UInt16(text), port > 0 { return .tcp(host: "localhost", port: Int(port)) }
        let address = try HostAndPort(text, source: source)
        guard address.port > 0 else { throw CommandError.configuration("\(source): \(text): the port must not be 0") }
        return .tcp(host: address.host, port: address.port)
    }

    /// Returns the services of all `--service` options (`PORT=BACKEND`), and the one for all other ports.
    ///
    /// - Parameter source: The option, for error messages.
    func services(_ options: [String], backend: String?, source: String = "--service") throws -> ExitServices {
        let (fallback, hasFallbackHeader) = Self.takeProxyProtocol(backend)
        var services = ExitServices(fallback: try self.backend(fallback))
        if hasFallbackHeader { services.proxyProtocolPorts.insert(nil) }
        for option in options {
            let (text, hasHeader) = Self.takeProxyProtocol(option)
            let parts = (text ?? "").split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                .map(String.init)
            guard let first = parts.first, let port = UInt16(first), port > 0 else {
                throw CommandError.configuration("\(source): \(option): \(Self.serviceRule(for: parts))")
            }
            guard services.byPort[port] == nil else {
                throw CommandError.configuration("\(source): port \(port) is given more than once")
            }
            services.byPort[port] = try Self.backend(parts.last ?? first, source: source)
            if hasHeader { services.proxyProtocolPorts.insert(port) }
        }
        return services
    }

    /// Describes how to write a service, with what was probably meant if that can be told.
    private static func serviceRule(for parts: [String]) -> String {
        let rule = "needs PORT, PORT=PORT, PORT=HOST:PORT or PORT=unix:PATH"
        guard let first = parts.first, parts.count == 1 else { return "\(rule), for example 80=127.0.0.1:8080" }
        let words = first.split(separator: ",")
        if words.count > 1, words.allSatisfy({ UInt16($0) ?? 0 > 0 }) {
            return "\(rule); separate services by spaces, for example \(words.joined(separator: " "))"
        }
        let bare =
            first.split(separator: "/", omittingEmptySubsequences: true).first { !$0.hasSuffix(":") } ?? first[...]
        if let colon = bare.firstIndex(of: ":"), colon != bare.startIndex,
            let port = UInt16(bare[bare.index(after: colon)...]), port > 0
        {
            let host = bare[..<colon]
            return "\(rule), for example \(UInt16(host).map { "\($0)=\(port)" } ?? "\(port)=\(bare)")"
        }
        return "\(rule), for example 80=127.0.0.1:8080"
    }

    /// Removes the suffix `,proxy-protocol`. Returns whether there was one.
    private static func takeProxyProtocol(_ text: String?) -> (rest: String?, isPresent: Bool) {
        let suffix = ",proxy-protocol"
        guard let text, text.hasSuffix(suffix) else { return (text, false) }
        return (String(text.dropLast(suffix.count)), true)
    }

    /// Returns the value of a Boolean variable; false if it is not set.
    func flag(_ name: String) throws -> Bool {
        guard let value = self[name] else { return false }
        switch value.lowercased() {
        case "0", "f", "false", "no": return false
        case "1", "t", "true", "yes": return true
        default: throw CommandError.configuration("\(name): \(value) must be true or false")
        }
    }
}

/// A host and a port, written as `HOST:PORT`, with brackets around IPv6 addresses.
struct HostAndPort {
    let host: String
    let port: Int

    init(_ text: String, source: String) throws {
        func fail(_ what: String) -> CommandError {
            .configuration("\(source): \(text): \(what); needs HOST:PORT, for example 127.0.0.1:8080 or [::1]:8080")
        }
        guard !text.contains("://") else { throw fail("URLs are not supported") }
        guard let colon = text.lastIndex(of: ":") else { throw fail("no port") }
        var host = String(text[..<colon])
        guard let port = Int(text[text.index(after: colon)...]), (0...65_535).contains(port) else {
            throw fail("the port must be between 0 and 65535")
        }
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
        } else if host.contains(":") {
            throw fail("an IPv6 address must be in brackets")
        }
        guard !host.isEmpty else { throw fail("no host") }
        guard !host.contains(where: { $0 == "*" || $0 == "/" || $0 == "@" || $0.isWhitespace }) else {
            throw fail("\(host) is not a host")
        }
        self.host = host
        self.port = port
    }
}
