//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The text of an OK or CLOSED: a machine-readable prefix, a colon, words for people (NIP-01).
public struct ReasonText: Hashable, Sendable {
    /// The standard prefixes.
    public enum Prefix: String, Hashable, Sendable, CaseIterable {
        case duplicate
        case pow
        case blocked
        case rateLimited = "rate-limited"
        case invalid
        case restricted
        case mute
        case error
        case authRequired = "auth-required"
    }

    /// The whole text as sent.
    public let text: String

    public init(_ text: String) {
        self.text = text
    }

    public init(_ prefix: Prefix, _ words: String) {
        self.text = "\(prefix.rawValue): \(words)"
    }

    /// No reason.
    public static let none = ReasonText("")

    /// The standard prefix; nil if the text has none. strfry writes `ERROR: ` before it, which is stripped.
    public var prefix: Prefix? {
        var rest = Substring(self.text)
        if rest.hasPrefix("ERROR: ") { rest = rest.dropFirst(7) }
        guard let colon = rest.firstIndex(of: ":") else { return nil }
        return Prefix(rawValue: String(rest[..<colon]))
    }
}

extension ReasonText: CustomStringConvertible {
    public var description: String { self.text }
}
