//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NostrCrypto

/// A key or profile in the text form of NIP-19: npub, nsec or nprofile.
public enum NIP19: Hashable, Sendable {
    /// A public key.
    case npub(PublicKey)
    /// The 32 bytes of a secret key. Convert them to a ``SecretKey`` at once, and never log them.
    case nsec(Bytes32)
    /// A public key and the URLs of relays where it can be found. The URLs are not validated.
    case nprofile(PublicKey, relays: [String])

    /// Maximum number of relays that are read from an nprofile. Further ones are ignored.
    public static let maximumRelays = 64

    /// The reason why a string is not an npub, nsec or nprofile.
    public enum DecodingError: Error, Hashable, Sendable {
        /// The string is not valid bech32.
        case bech32(Bech32.DecodingError)
        /// The prefix is not npub, nsec or nprofile. The value holds the first 16 characters of the prefix.
        case unsupportedPrefix(String)
        /// The key is not 32 bytes long.
        case keyLength
        /// The 32 bytes are not a public key on the curve.
        case invalidKey
        /// An entry of the nprofile is truncated.
        case truncated
        /// The nprofile contains no key.
        case missingKey
    }

    /// Parses an npub, nsec or nprofile in lower or upper case. An nsec is not checked to be a valid key.
    public init(_ text: String) throws(DecodingError) {
        let prefix: String
        let bytes: [UInt8]
        do {
            (prefix, bytes) = try Bech32.decode(text)
        } catch {
            throw .bech32(error)
        }
        switch prefix {
        case "npub":
            guard let value = Bytes32(bytes) else { throw .keyLength }
            self = .npub(try Self.key(value))
        case "nsec":
            guard let value = Bytes32(bytes) else { throw .keyLength }
            self = .nsec(value)
        case "nprofile":
            self = try Self.profile(bytes)
        default:
            throw .unsupportedPrefix(String(prefix.prefix(16)))
        }
    }

    /// The text form in lower case. An nprofile leaves out relay URLs longer than 255 bytes, which do not fit.
    public var encoded: String {
        switch self {
        case .npub(let key):
            return Bech32.encode(prefix: "npub", bytes: key.bytes.bytes)
        case .nsec(let secret):
            return Bech32.encode(prefix: "nsec", bytes: secret.bytes)
        case .nprofile(let key, let relays):
            var bytes: [UInt8] = [0, 32] + key.bytes.bytes
            for relay in relays where relay.utf8.count <= 255 {
                bytes += [1, UInt8(relay.utf8.count)] + Array(relay.utf8)
            }
            return Bech32.encode(prefix: "nprofile", bytes: bytes)
        }
    }

    private static func key(_ bytes: Bytes32) throws(DecodingError) -> PublicKey {
        do {
            return try PublicKey(validating: bytes)
        } catch {
            throw .invalidKey
        }
    }

    /// Parses the type-length-value entries of an nprofile. Unknown types and keys after the first are ignored.
    private static func profile(_ bytes: [UInt8]) throws(DecodingError) -> NIP19 {
        var key: PublicKey?
        var relays: [String] = []
        var index = 0
        while index < bytes.count {
            guard index + 2 <= bytes.count else { throw .truncated }
            let (type, length) = (bytes[index], Int(bytes[index + 1]))
            index += 2
            guard index + length <= bytes.count else { throw .truncated }
            let value = Array(bytes[index..<(index + length)])
            index += length
            if type == 0, key == nil {
                guard let bytes = Bytes32(value) else { throw .keyLength }
                key = try Self.key(bytes)
            } else if type == 1, relays.count < Self.maximumRelays {
                relays.append(String(decoding: value, as: UTF8.self))
            }
        }
        guard let key else { throw .missingKey }
        return .nprofile(key, relays: relays)
    }
}

extension NIP19.DecodingError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .bech32(.tooLong): "longer than \(Bech32.maximumLength) characters"
        case .bech32(.invalidCharacter):
            "contains a character that bech32 does not allow, or mixes upper and lower case"
        case .bech32(.missingSeparator): "not a bech32 string; expected a prefix, the digit 1 and data"
        case .bech32(.invalidChecksum): "the checksum does not match; check for typing errors or missing characters"
        case .bech32(.invalidPadding): "the padding bits are invalid"
        case .unsupportedPrefix(let prefix): "unsupported prefix \(prefix); expected npub, nsec or nprofile"
        case .keyLength: "the key is not 32 bytes long"
        case .invalidKey: "the key is not a point on the curve secp256k1"
        case .truncated: "an entry of the nprofile is truncated"
        case .missingKey: "the nprofile contains no public key"
        }
    }
}

extension PublicKey {
    /// The key in the form `npub1…` (NIP-19).
    public var npub: String { NIP19.npub(self).encoded }

    /// Parses a public key given as 64 hex digits, npub or nprofile; nil for anything else.
    public init?(userText text: String) {
        if text.utf8.count == 64, let bytes = Bytes32(hex: text), let key = try? PublicKey(validating: bytes) {
            self = key
            return
        }
        switch try? NIP19(text) {
        case .npub(let key), .nprofile(let key, _): self = key
        case .nsec, nil: return nil
        }
    }
}
