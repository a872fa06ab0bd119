//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A short name that a user gave to an exit, such as `home`. In a domain name it is followed by `.nostr`.
public struct Alias: Hashable, Sendable {
    /// The alias in lower case, without `.nostr`.
    public let text: String

    /// Maximum length in characters. The key label of a full name has 52, so an alias is never one.
    public static let maximumLength = 32

    /// Returns nil if `text` is not 1 to 32 letters, digits and hyphens, begins or ends with a hyphen, or looks like an
    /// npub, nprofile, nsec or invite.
    public init?(_ text: String) {
        let lowered = text.lowercased()
        let isAllowed = lowered.utf8.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: "-")
        }
        guard isAllowed, (1...Self.maximumLength).contains(lowered.utf8.count), !lowered.hasPrefix("-"),
            !lowered.hasSuffix("-"), lowered != NostrName.suffix,
            !["npub1", "nprofile1", "nsec1", InviteCode.prefix].contains(where: { lowered.hasPrefix($0) })
        else { return nil }
        self.text = lowered
    }

    /// The alias in a domain name such as `home.nostr` or `www.home.nostr`: the label before `.nostr`. Nil if there is
    /// none, in particular if it is the key of a full name.
    public init?(domain: String) {
        var labels = domain.lowercased().split(separator: ".", omittingEmptySubsequences: false)
        if labels.last == "" { labels.removeLast() }
        guard labels.count >= 2, labels.last.map(String.init) == NostrName.suffix else { return nil }
        self.init(String(labels[labels.count - 2]))
    }

    /// The domain name of the alias.
    public var domain: String { self.text + "." + NostrName.suffix }
}

extension Alias: CustomStringConvertible {
    public var description: String { self.text }
}
