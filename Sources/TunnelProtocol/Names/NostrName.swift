//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import Nostr
public import NostrCrypto

/// The name of an exit: its public key and the relays through which it can be reached (NIP-74).
///
/// The text form is `<base32hex relay URL>[.<base32hex relay URL>…].<base32hex key>.nostr`. Decoding checks only the
/// syntax. The caller decides which relays it may connect to.
public struct NostrName: Hashable, Sendable {
    /// Maximum length of a name in bytes: the longest domain name of a SOCKS5 request (RFC 1928, section 5).
    public static let maximumLength = 255
    /// Maximum length of a DNS label in bytes. Longer labels are decoded but never encoded.
    public static let maximumLabelLength = 63
    /// Maximum length of a DNS name in characters. Longer names are decoded but never encoded.
    public static let maximumDNSLength = 253
    /// The top-level domain.
    static let suffix = "nostr"
    /// Length of a 32-byte key in base32hex.
    private static let keyLabelLength = 52

    /// The exit's public key. Decoding a `.nostr` name checks that it is on the curve.
    public let publicKey: PublicKey
    /// The exit's relays, normalized and without duplicates, in the order of the name.
    public let relays: [RelayURL]
    /// Labels of a name, or relays of an nprofile, that are not valid relay URLs and were ignored, for example `www`.
    public let ignoredLabels: [String]

    /// Creates a name. Duplicate relays are removed.
    public init(publicKey: PublicKey, relays: [RelayURL]) {
        self.init(publicKey: publicKey, relays: relays, ignoredLabels: [])
    }

    private init(publicKey: PublicKey, relays: [RelayURL], ignoredLabels: [String]) {
        self.publicKey = publicKey
        self.relays = relays.removingDuplicates()
        self.ignoredLabels = ignoredLabels
    }

    /// The reason why a string is not a valid name.
    public enum DecodingError: Error, Hashable, Sendable {
        /// The name is longer than ``NostrName/maximumLength``.
        case tooLong
        /// The name does not end in `.nostr` and is not an npub or nprofile.
        case notNostr
        /// The name contains a colon. A port is not part of a name.
        case port
        /// The name contains an empty label, for example because of two dots in a row.
        case emptyLabel
        /// There is no label before `.nostr`.
        case missingKey
        /// The last label before `.nostr` is not a key of 52 base32hex characters. The value is the label.
        case malformedKey(String)
        /// The only relays of the name are labels that are not relay URLs.
        case damagedRelay(String)
        /// The key is in hexadecimal instead of base32hex.
        case hexKey
        /// The key is not a point on the curve.
        case invalidKey
        /// The text starts like an npub or nprofile but is not valid.
        case nip19(NIP19.DecodingError)
        /// The text is a secret key (nsec).
        case secretKey
    }

    /// Returns whether `text` looks like a name: it ends in `.nostr`, or starts like an npub, nprofile or nsec.
    public static func looksLikeName(_ text: String) -> Bool {
        let lowered = text.lowercased()
        let bare = lowered.hasSuffix(".") ? String(lowered.dropLast()) : lowered
        if bare == Self.suffix || bare.hasSuffix("." + Self.suffix) { return true }
        // An nsec counts as a name so that it is rejected with an error instead of being looked up in DNS. Domain names
        // can start with `npub1` or `nprofile1`, so these prefixes count only if the text contains no dot.
        return bare.hasPrefix("nsec1")
            || !bare.contains(".") && (bare.hasPrefix("npub1") || bare.hasPrefix("nprofile1"))
    }

    /// Decodes a `.nostr` name, an npub or an nprofile. An npub or nprofile may be followed by `.nostr`.
    ///
    /// - Throws: ``DecodingError`` if `text` is not a valid name.
    public init(_ text: String) throws(DecodingError) {
        guard !text.contains(":") else { throw .port }
        var bare = Substring(text)
        if bare.hasSuffix(".") { bare = bare.dropLast() }
        guard !bare.hasSuffix(".") else { throw .emptyLabel }
        let lowered = bare.lowercased()
        let withoutSuffix = lowered.hasSuffix("." + Self.suffix) ? bare.dropLast(Self.suffix.count + 1) : bare
        // A key label can start with the same characters. It has 52 characters; npub, nprofile and nsec are longer.
        if withoutSuffix.utf8.count != Self.keyLabelLength || withoutSuffix == bare {
            if lowered.hasPrefix("nsec1") { throw .secretKey }
            if lowered.hasPrefix("npub1") || lowered.hasPrefix("nprofile1"), !withoutSuffix.contains(".") {
                try self.init(nip19: String(withoutSuffix))
                return
            }
        }
        guard bare.utf8.count <= Self.maximumLength else { throw .tooLong }
        guard lowered == Self.suffix || lowered.hasSuffix("." + Self.suffix) else { throw .notNostr }
        var labels = lowered.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        labels.removeLast()
        guard !labels.isEmpty else { throw .missingKey }
        guard labels != [""] else { throw .missingKey }
        guard labels.allSatisfy({ !$0.isEmpty }) else { throw .emptyLabel }
        let keyLabel = labels.removeLast()
        guard let decoded = Base32Hex.decode(keyLabel), let bytes = Bytes32(decoded) else {
            // 64 hexadecimal digits are also valid base32hex. They decode to 40 bytes.
            throw keyLabel.utf8.count == 64 && Hex.decode(keyLabel) != nil
                ? .hexKey : .malformedKey(keyLabel)
        }
        let key = PublicKey(unchecked: bytes)
        guard key.isOnCurve else { throw .invalidKey }
        var relays: [RelayURL] = []
        var ignored: [String] = []
        for label in labels {
            if let bytes = Base32Hex.decode(label), let text = String(validating: bytes, as: UTF8.self),
                let relay = try? RelayURL(text)
            {
                relays.append(relay)
            } else {
                ignored.append(label)
            }
        }
        self.init(publicKey: key, relays: relays, ignoredLabels: ignored)
    }

    private init(nip19 text: String) throws(DecodingError) {
        let decoded: NIP19
        do {
            decoded = try NIP19(text)
        } catch {
            throw .nip19(error)
        }
        switch decoded {
        case .npub(let key):
            self.init(publicKey: key, relays: [])
        case .nprofile(let key, let relays):
            var urls: [RelayURL] = []
            var ignored: [String] = []
            for text in relays {
                if let url = try? RelayURL(text) { urls.append(url) } else { ignored.append(text) }
            }
            self.init(publicKey: key, relays: urls, ignoredLabels: ignored)
        case .nsec:
            throw .secretKey
        }
    }

    /// The `.nostr` name. Relays that do not fit into a DNS name are omitted; see ``relaysLeftOut``.
    public var encoded: String { self.encodedParts.name }

    /// The relays that ``encoded`` omits. ``nprofile`` contains all relays.
    public var relaysLeftOut: [RelayURL] { self.encodedParts.leftOut }

    /// A label that is short enough for an error message.
    fileprivate static func shortened(_ label: String) -> String {
        let text = String(
            label.unicodeScalars.map { $0.isASCII && $0.value > 0x20 && $0.value < 0x7f ? Character($0) : "?" }
        )
        return text.count > 20 ? "\(text.prefix(8))…\(text.suffix(8))" : text
    }

    /// A label in the place of a relay that is too long for a host name that somebody chose, such as `www`.
    public var damagedRelay: String? { self.ignoredLabels.first { $0.utf8.count >= Self.minimumRelayLength } }

    /// Length of the shortest label of a relay, `ws://a.b`, in base32hex.
    private static let minimumRelayLength = 13

    private var encodedParts: (name: String, leftOut: [RelayURL]) {
        let tail = Base32Hex.encode(self.publicKey.bytes.bytes) + "." + Self.suffix
        var labels: [String] = []
        var length = tail.utf8.count
        var leftOut: [RelayURL] = []
        for relay in self.relays {
            let label = Base32Hex.encode(Array(relay.text.utf8))
            guard label.utf8.count <= Self.maximumLabelLength, length + label.utf8.count + 1 <= Self.maximumDNSLength
            else {
                leftOut.append(relay)
                continue
            }
            labels.append(label)
            length += label.utf8.count + 1
        }
        return ((labels + [tail]).joined(separator: "."), leftOut)
    }

    /// The key and all relays as an nprofile (NIP-19).
    public var nprofile: String {
        NIP19.nprofile(self.publicKey, relays: self.relays.map(\.text)).encoded
    }
}

extension NostrName.DecodingError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .tooLong: "the name is longer than \(NostrName.maximumLength) bytes"
        case .notNostr: "not a .nostr name, npub or nprofile"
        case .port: "the name contains a colon; give the port separately"
        case .emptyLabel: "the name contains an empty label; check for extra dots"
        case .missingKey: "the name has no key before .nostr"
        case .malformedKey(let label):
            "the key \(NostrName.shortened(label)) before .nostr has \(label.utf8.count) characters; it must have 52, each of 0-9 and a-v; a character is wrong, missing or extra"
        case .damagedRelay(let label):
            "the relay \(NostrName.shortened(label)) in the name is damaged: it is not a relay URL in base32hex; a character is wrong, missing or extra"
        case .hexKey: "the key is in hexadecimal instead of base32hex; use the exit's .nostr name or its npub"
        case .invalidKey: "the key is not a valid public key; check for typing errors"
        case .nip19(let error): "invalid npub or nprofile: \(error)"
        case .secretKey: "this is a secret key (nsec), not a name; do not share it, and use the public key (npub)"
        }
    }
}
