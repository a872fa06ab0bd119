//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import TunnelProtocol

extension NostrName {
    /// Reads a name, npub or nprofile from the command line.
    init(argument: String) throws {
        do {
            try self.init(argument)
        } catch {
            throw CommandError.failure("\(error)")
        }
    }
}

extension TargetAddress {
    /// Reads `NAME:PORT`.
    init(_ text: String, source: String) throws {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0,
            colon > text.startIndex
        else {
            throw CommandError.configuration("\(source): expected NAME:PORT, with a .nostr name, npub or nprofile")
        }
        self.init(host: .domain(String(text[..<colon])), port: port)
    }
}
