//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import Nostr
public import NostrCrypto

/// The name of an exit: its key and the relays where it listens (NIP-74).
///
/// `<base32hex relay>[.<base32hex relay>…].<base32hex key>.nostr`. Decoding judges syntax only; whether a relay may be
/// dialled is decided where it is dialled.
public struct NostrName: Hashable, Sendable {
    /// Longest name in characters: a SOCKS5 domain.
    public static let maximumLength = 255
    /// Longest label that DNS allows; longer ones are read, and never made.
    public static let maximumLabelLength = 63
    /// Longest name that DNS allows; longer ones are read, and never made.
    public static let maximumDNSLength = 253
    /// The top-level domain.
    static let suffix = "nostr"
    /// Characters of 32 bytes in base32hex.
    private static let keyLabelLength = 52

    /// The exit's key, on the curve.
    public let publicKey: PublicKey
    /// Normalised, without repetitions, in the name's order.
    public let relays: [RelayURL]
    /// Labels that are no relay URLs and were ignored, `www` for instance.
    public let ignoredLabels: [String]

    public init(publicKey: PublicKey, relays: [RelayURL]) {
        self.init(publicKey: publicKey, relays: relays, ignoredLabels: [])
    }

    private init(publicKey: PublicKey, relays: [RelayURL], ignoredLabels: [String]) {
        self.publicKey = publicKey
        self.relays = relays.removingDuplicates()
        self.ignoredLabels = ignoredLabels
    }

    /// Why text is not a name.
    public enum DecodingError: Error, Hashable, Sendable {
        /// Longer than ``NostrName/maximumLength``.
        case tooLong
        /// It doesn't end in `.nostr`.
        case notNostr
        /// It has `:` in it. The port is asked for beside the name.
        case port
        /// Two dots in a row, or one at the beginning.
        case emptyLabel
        /// Nothing before `.nostr`.
        case missingKey
        /// The last label before `.nostr` is not 52 characters of base32hex.
        case malformedKey
        /// The key is in hex; names have it in base32hex.
        case hexKey
        /// The 32 bytes are not a key on the curve.
        case invalidKey
        /// It begins like npub or nprofile and is none.
        case nip19(NIP19.DecodingError)
        /// An nsec. Nobody should hand that around.
        case secretKey
    }

    /// Whether `text` claims to be a name: ends in `.nostr`, or begins like npub or nprofile.
    public static func looksLikeName(_ text: String) -> Bool {
        let lowered = text.lowercased()
        let bare = lowered.hasSuffix(".") ? String(lowered.dropLast()) : lowered
        if bare == Self.suffix || bare.hasSuffix("." + Self.suffix) { return true }
        // A secret key belongs nowhere else, either. Names of the internet may begin like the others (npub1….example).
        return bare.hasPrefix("nsec1")
            || !bare.contains(".") && (bare.hasPrefix("npub1") || bare.hasPrefix("nprofile1"))
    }

    /// Reads a `.nostr` name, npub or nprofile, the latter two with or without `.nostr` behind.
    public init(_ text: String) throws(DecodingError) {
        guard !text.contains(":") else { throw .port }
        var bare = Substring(text)
        if bare.hasSuffix(".") { bare = bare.dropLast() }
        guard !bare.hasSuffix(".") else { throw .emptyLabel }
        let lowered = bare.lowercased()
        let withoutSuffix = lowered.hasSuffix("." + Self.suffix) ? bare.dropLast(Self.suffix.count + 1) : bare
        // A label can begin like these without being one: a key's has 52 characters, theirs have more.
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
            // A hex key happens to be base32hex too, of 40 bytes.
            throw keyLabel.utf8.count == 64 && Hex.decode(keyLabel) != nil ? .hexKey : .malformedKey
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

    /// The `.nostr` name. Relays that do not fit a DNS name are left out; ``relaysLeftOut`` says which.
    public var encoded: String { self.encodedParts.name }

    /// The relays that ``encoded`` does not carry; the nprofile does.
    public var relaysLeftOut: [RelayURL] { self.encodedParts.leftOut }

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

    /// The same as an nprofile.
    public var nprofile: String {
        NIP19.nprofile(self.publicKey, relays: self.relays.map(\.text)).encoded
    }
}

extension NostrName.DecodingError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .tooLong: "the name is longer than \(NostrName.maximumLength) characters"
        case .notNostr: "the name does not end in .nostr, and is neither npub nor nprofile"
        case .port: "the name has a colon in it; a port is given beside the name, not as part of it"
        case .emptyLabel: "the name has an empty label (two dots in a row, or one too many at an end)"
        case .missingKey: "there is no key before .nostr"
        case .malformedKey:
            "the label before .nostr is not a key: 52 characters 0-9 a-v (base32hex) are expected, mistyped or cut off?"
        case .hexKey: "the key is in hex; a name has it in base32hex (make one with: nws name encode)"
        case .invalidKey: "the key is not on the curve: mistyped?"
        case .nip19(let error): "the npub or nprofile is invalid: \(error)"
        case .secretKey: "that is a SECRET key (nsec); a name is made of the public key. Do not share it"
        }
    }
}
