//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import Nostr
import Tunnel

/// A list of public relays: the one that ships with the program, or a file.
///
/// A line has a URL, the date of its source, and the source, separated by white space. `#` begins a comment. A line whose URL has
/// the form `stun:HOST:PORT` (RFC 7064) is a STUN server for nodes that use relays of the list.
struct PublicRelayList {
    /// A relay of the list.
    struct Entry: Hashable {
        let url: RelayURL
        /// When the source was published, such as `2026-05`; empty if unknown.
        let date: String
        /// Where the relay is named as one for everyone; empty if unknown.
        let source: String
    }

    let entries: [Entry]
    let stunServers: [DirectConfiguration.STUNServerAddress]

    /// Maximum size of a file in bytes.
    private static let maximumLength = 256 << 10
    /// Maximum number of relays.
    static let maximumCount = 200
    /// Maximum number of STUN servers. All of them are asked.
    static let maximumSTUNServers = 4

    private static let stunScheme = "stun:"

    /// The list that ships with the program.
    static let shipped =
        (try? PublicRelayList(String(decoding: PackageResources.public_relays_txt, as: UTF8.self), ""))
        ?? PublicRelayList()

    private init() {
        self.entries = []
        self.stunServers = []
    }

    /// Reads a list from a file.
    init(path: String) throws {
        guard let data = FileManager.default.contents(atPath: path), data.count <= Self.maximumLength,
            let text = String(data: data, encoding: .utf8)
        else {
            throw CommandError.configuration(
                "--relay-list: \(path) must be a readable file of UTF-8 text of at most \(Self.maximumLength) bytes"
            )
        }
        try self.init(text, "--relay-list: \(path)")
        guard !self.entries.isEmpty else { throw CommandError.configuration("--relay-list: \(path) contains no relay") }
    }

    /// Parses the text of a list.
    ///
    /// - Parameter source: The source of the text, for error messages.
    init(_ text: String, _ source: String) throws {
        var entries: [Entry] = []
        var stunServers: [DirectConfiguration.STUNServerAddress] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let words = line.prefix { $0 != "#" }.split(maxSplits: 2) { $0.isWhitespace }.map(String.init)
            guard let first = words.first else { continue }
            if first.hasPrefix(Self.stunScheme) {
                let name = String(first.dropFirst(Self.stunScheme.count))
                stunServers += try DirectOptions.stunServers([name], source: "\(source), line \(index + 1)")
                continue
            }
            do {
                let url = try RelayURL(first)
                guard !entries.contains(where: { $0.url == url }) else { continue }
                entries.append(
                    Entry(url: url, date: words.count > 1 ? words[1] : "", source: words.count > 2 ? words[2] : "")
                )
            } catch {
                throw CommandError.configuration("\(source), line \(index + 1): \(first) is not a relay URL: \(error)")
            }
        }
        guard entries.count <= Self.maximumCount else {
            throw CommandError.configuration("\(source): has more than \(Self.maximumCount) relays")
        }
        guard stunServers.count <= Self.maximumSTUNServers else {
            throw CommandError.configuration("\(source): has more than \(Self.maximumSTUNServers) STUN servers")
        }
        self.entries = entries
        self.stunServers = stunServers
    }
}
