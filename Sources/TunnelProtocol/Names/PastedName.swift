//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A name as people paste it: with white space or quotation marks around it, a scheme such as `http:` or `nostr:`, a user, a
/// port or a path.
public struct PastedName: Hashable, Sendable {
    /// The name, npub, nprofile, alias or host name, in the case in which it was pasted.
    public let host: String
    /// The port after the host; nil if there is none.
    public let port: UInt16?

    /// The port of each scheme, if no port is given.
    private static let ports: [String: UInt16] = ["http": 80, "https": 443, "ws": 80, "wss": 443, "ssh": 22]
    private static let wrappers: Set<Character> = [
        "\"", "'", "<", ">", "`", "“", "”", "‘", "’", "«", "»", "‹", "›", "(", ")", ",", ";", "\u{200b}", "\u{feff}",
    ]

    /// Returns nil if nothing is left, or the port is not between 1 and 65535.
    public init?(_ text: String) {
        var rest = text.drop { $0.isWhitespace || Self.wrappers.contains($0) }
        while let last = rest.last, last.isWhitespace || Self.wrappers.contains(last) { rest.removeLast() }
        var port: UInt16?
        if let end = rest.firstRange(of: "://") {
            port = Self.ports[rest[..<end.lowerBound].lowercased()]
            rest = rest[end.upperBound...]
        } else if rest.lowercased().hasPrefix("nostr:") {
            rest = rest.dropFirst("nostr:".count)
        }
        if let end = rest.firstIndex(where: { "/?#".contains($0) }) { rest = rest[..<end] }
        if let at = rest.lastIndex(of: "@") { rest = rest[rest.index(after: at)...] }
        // More than one colon is an IPv6 address.
        if let colon = rest.lastIndex(of: ":"), rest.firstIndex(of: ":") == colon || rest[..<colon].hasSuffix("]") {
            guard let number = UInt16(rest[rest.index(after: colon)...]), number > 0 else { return nil }
            port = number
            rest = rest[..<colon]
        }
        while rest.last?.isWhitespace == true { rest.removeLast() }
        if rest.hasPrefix("["), rest.hasSuffix("]") { rest = rest.dropFirst().dropLast() }
        guard !rest.isEmpty else { return nil }
        self.host = String(rest)
        self.port = port
    }
}
