//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The reason in an OK or CLOSED message: a machine-readable prefix, a colon, and a human-readable message (NIP-01).
package struct ReasonText: Hashable, Sendable {
    /// The standard machine-readable prefixes (NIP-01).
    package enum Prefix: String, Hashable, Sendable, CaseIterable {
        /// The relay already has the event.
        case duplicate
        /// The event lacks proof of work (NIP-13).
        case pow
        /// The author or the content is blocked.
        case blocked
        /// The client exceeds a rate limit.
        case rateLimited = "rate-limited"
        /// The message is malformed or violates a rule of the relay.
        case invalid
        /// The client is not allowed to do this.
        case restricted
        /// No client is subscribed to this ephemeral event.
        case mute
        /// Any other error.
        case error
        /// The client must authenticate first (NIP-42).
        case authRequired = "auth-required"
    }

    /// The complete text as sent.
    package let text: String

    /// Creates a reason from the complete text.
    package init(_ text: String) {
        self.text = text
    }

    /// Creates a reason from a standard prefix and a human-readable message.
    package init(_ prefix: Prefix, _ words: String) {
        self.text = "\(prefix.rawValue): \(words)"
    }

    /// The empty reason.
    package static let none = ReasonText("")

    /// The standard prefix; nil if the text has none. A leading `ERROR: `, which strfry adds, is ignored.
    package var prefix: Prefix? {
        var rest = Substring(self.text)
        if rest.hasPrefix("ERROR: ") { rest = rest.dropFirst(7) }
        guard let colon = rest.firstIndex(of: ":") else { return nil }
        return Prefix(rawValue: String(rest[..<colon]))
    }
}

extension ReasonText: CustomStringConvertible {
    package var description: String { self.text }
}
