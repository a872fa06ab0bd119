//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import TunnelProtocol

extension NostrName {
    /// Parses a name, npub or nprofile from the command line.
    init(argument: String) throws {
        do {
            try self.init(argument)
        } catch {
            throw CommandError.failure("\(error)")
        }
    }
}

extension TargetAddress {
    /// Parses `NAME:PORT`.
    ///
    /// - Parameter expected: A description of the expected format, for error messages.
    init(
        _ text: String,
        source: String,
        expected: String = "NAME:PORT, with a .nostr name, npub or nprofile"
    ) throws {
        guard let colon = text.lastIndex(of: ":"), colon > text.startIndex else {
            throw CommandError.configuration("\(source): no port; needs \(expected)")
        }
        guard let port = UInt16(text[text.index(after: colon)...]), port > 0 else {
            throw CommandError.configuration(
                "\(source): the port must be between 1 and 65535; needs \(expected)"
            )
        }
        var host = String(text[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        self.init(host: .domain(host), port: port)
    }
}
