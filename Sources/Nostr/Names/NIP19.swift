//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NostrCrypto

/// Keys and profiles as people exchange them (NIP-19).
public enum NIP19: Hashable, Sendable {
    case npub(PublicKey)
    /// The secret's 32 bytes. Make a ``SecretKey`` of it at once; never log it.
    case nsec(Bytes32)
    /// A key and the relays where it is found, as written, unchecked.
    case nprofile(PublicKey, relays: [String])

    /// Most relays of an nprofile that are read; the rest are left out.
    public static let maximumRelays = 64

    /// Why a string is not one of these.
    public enum DecodingError: Error, Hashable, Sendable {
        case bech32(Bech32.DecodingError)
        /// Bech32, with a prefix that is not a key or profile.
        case unsupportedPrefix(String)
        /// The key does not have 32 bytes.
        case keyLength
        /// The 32 bytes are not a key on the curve.
        case invalidKey
        /// An entry of the nprofile is cut short.
        case truncated
        /// The nprofile has no key.
        case missingKey
    }

    /// Reads npub, nsec or nprofile, all lower or all upper case.
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

    /// The lower-case string. For `nprofile`, relays over 255 bytes do not fit and are left out.
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

    /// Type, length, value; unknown types are ignored, and of two keys the first counts.
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
        case .bech32(.invalidCharacter): "it has characters that bech32 does not, or mixes upper and lower case"
        case .bech32(.missingSeparator): "it is not a bech32 string (prefix, 1, characters)"
        case .bech32(.invalidChecksum): "the checksum is wrong: mistyped or cut off"
        case .bech32(.invalidPadding): "it has bits left over"
        case .unsupportedPrefix(let prefix): "\(prefix)… names neither a key nor a profile"
        case .keyLength: "the key does not have 32 bytes"
        case .invalidKey: "it is not a public key: no such point on the curve"
        case .truncated: "an entry is cut short"
        case .missingKey: "the nprofile has no key in it"
        }
    }
}

extension PublicKey {
    /// The key as `npub1…`.
    public var npub: String { NIP19.npub(self).encoded }

    /// Reads 64 hex digits, npub or nprofile; nil for anything else.
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
