//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
package import NostrCrypto

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// A line of an access list that is neither empty nor a comment: a key with its permissions, or an invite.
package enum AuthorizedKeysLine: Hashable, Sendable {
    case key(PublicKey, AuthorizedKeys.Grant)
    case invite(AuthorizedKeys.Invite)

    /// The reason why a line is invalid.
    package struct ParsingError: Error, Hashable, Sendable {
        /// A description for people.
        package let reason: String
    }

    /// Parses a line.
    package init(parsing line: Substring) throws(ParsingError) {
        if let invite = try Self.parseInvite(line) {
            self = .invite(invite)
        } else {
            let (key, grant) = try Self.parse(line)
            self = .key(key, grant)
        }
    }

    /// The line, without a line break.
    package var text: String {
        switch self {
        case .key(let key, let grant):
            Self.text(
                options: [
                    grant.services.map { ("services", Self.text(of: $0)) },
                    grant.expires.map { ("expires", Self.text(ofDate: $0)) },
                    grant.added.map { ("added", Self.text(ofDate: $0)) },
                ],
                key.npub,
                grant.comment
            )
        case .invite(let invite):
            Self.text(
                options: [
                    invite.services.map { ("services", Self.text(of: $0)) },
                    invite.expires.map { ("expires", Self.text(ofDate: $0)) },
                ],
                Self.invitePrefix + Hex.encode(invite.derived) + invite.verifier.hex,
                invite.comment
            )
        }
    }

    private static func text(options: [(String, String)?], _ subject: String, _ comment: String) -> String {
        let list = options.compactMap { $0 }.map { "\($0.0)=\"\($0.1)\"" }.joined(separator: ",")
        let words = comment.split { $0.isWhitespace }.joined(separator: " ")
        return [list, subject, words].filter { !$0.isEmpty }.joined(separator: " ")
    }

    /// Ports as in the option `services`.
    package static func text(of ports: Set<UInt16>) -> String { ports.sorted().map(String.init).joined(separator: ",") }

    /// A date as in the option `expires`: without the time if it is the beginning of a day in UTC.
    package static func text(ofDate seconds: Int64) -> String {
        let text = Date(timeIntervalSince1970: TimeInterval(seconds)).formatted(.iso8601)
        return text.hasSuffix("T00:00:00Z") ? String(text.prefix(10)) : text
    }

    /// Maximum length of a comment that ``comment(_:)`` returns, in Unicode scalars.
    private static let maximumComment = 64

    /// Makes a comment from text that may come from another machine: letters, digits, and a few other characters that have no
    /// meaning in a line.
    package static func comment(_ text: String) -> String {
        let allowed = text.unicodeScalars.map { Self.isAllowed($0) ? $0 : " " }
        var words = Array(allowed.split(separator: " ").joined(separator: [" "]).prefix(Self.maximumComment))
        if words.last == " " { words.removeLast() }
        return String(String.UnicodeScalarView(words))
    }

    private static func isAllowed(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter, .decimalNumber: break
        default: return "-_.+@()'".unicodeScalars.contains(scalar)
        }
        // Some letters join with a space next to them into one `Character`, which the parser does not treat as white space.
        return String(String.UnicodeScalarView([" ", scalar, " "])).count == 3
    }

    private static func parse(_ line: Substring) throws(ParsingError) -> (PublicKey, AuthorizedKeys.Grant) {
        var words = Self.words(line)
        guard let first = words.first else { throw ParsingError(reason: "expected [options] npub1… [comment]") }
        var grant = AuthorizedKeys.Grant()
        var key = PublicKey(userText: first)
        if key == nil, words.count > 1, first.contains("=") {
            try Self.apply(first, to: &grant)
            words.removeFirst()
            key = PublicKey(userText: words[0])
        }
        guard let key else {
            throw ParsingError(
                reason: "expected [options] npub1… [comment]; \(first.prefix(32)) is neither a key nor an option"
            )
        }
        let comment = words.dropFirst()
        // A restriction in the wrong place must not be read as a comment.
        guard
            !comment.contains(where: { $0.hasPrefix("services=") || $0.hasPrefix("expires=") || $0.hasPrefix("added=") }
            )
        else {
            throw ParsingError(reason: "options must precede the key")
        }
        grant.comment = comment.joined(separator: " ")
        return (key, grant)
    }

    /// Parses a line of the form `[options] invite:HEX comment`. Nil for the line of a key.
    private static func parseInvite(_ line: Substring) throws(ParsingError) -> AuthorizedKeys.Invite? {
        let words = Self.words(line)
        guard let index = words.prefix(2).firstIndex(where: { $0.hasPrefix(Self.invitePrefix) }) else { return nil }
        let length = Credential.derivedLength + Bytes32.count
        guard let bytes = Hex.decode(String(words[index].dropFirst(Self.invitePrefix.count))), bytes.count == length,
            let verifier = Bytes32(Array(bytes.suffix(Bytes32.count)))
        else { throw ParsingError(reason: "invite: expected \(2 * length) hex digits") }
        var grant = AuthorizedKeys.Grant()
        if index == 1 { try Self.apply(words[0], to: &grant) }
        return AuthorizedKeys.Invite(
            derived: Array(bytes.prefix(Credential.derivedLength)),
            verifier: verifier,
            services: grant.services,
            expires: grant.expires,
            comment: words.dropFirst(index + 1).joined(separator: " ")
        )
    }

    private static let invitePrefix = "invite:"

    /// Splits at white space outside of quotation marks.
    private static func words(_ line: Substring) -> [String] {
        var words: [String] = []
        var word = ""
        var isQuoted = false
        for character in line {
            if character == "\"" { isQuoted.toggle() }
            if character.isWhitespace, !isQuoted {
                if !word.isEmpty { words.append(word) }
                word = ""
            } else {
                word.append(character)
            }
        }
        if !word.isEmpty { words.append(word) }
        return words
    }

    private static func apply(_ options: String, to grant: inout AuthorizedKeys.Grant) throws(ParsingError) {
        var isQuoted = false
        var seen: Set<String> = []
        let parts = options.split { character in
            if character == "\"" { isQuoted.toggle() }
            return character == "," && !isQuoted
        }
        guard !isQuoted else { throw ParsingError(reason: "a quotation mark is missing") }
        for part in parts {
            let pair = part.split(separator: "=", maxSplits: 1).map(String.init)
            guard pair.count == 2 else { throw ParsingError(reason: "\(part): expected name=\"value\"") }
            let value = pair[1].filter { $0 != "\"" }
            guard seen.insert(pair[0].lowercased()).inserted else {
                throw ParsingError(reason: "\(pair[0]) is given twice")
            }
            switch pair[0].lowercased() {
            case "services":
                let ports = value.split(separator: ",").map { UInt16($0.filter { !$0.isWhitespace }) }
                guard !ports.isEmpty, !ports.contains(nil), !ports.contains(0) else {
                    throw ParsingError(reason: "services: expected ports, as in services=\"22,80\"")
                }
                grant.services = Set(ports.compactMap { $0 })
            case "expires":
                guard let date = Self.date(value) else {
                    throw ParsingError(reason: "expires: expected a date, as in 2027-01-31 or 2027-01-31T12:00:00Z")
                }
                grant.expires = date
            case "added":
                guard let date = Self.date(value) else {
                    throw ParsingError(reason: "added: expected a date, as in 2027-01-31 or 2027-01-31T12:00:00Z")
                }
                grant.added = date
            default:
                // An unknown restriction must not be ignored.
                throw ParsingError(reason: "unknown option \(pair[0]); the options are services, expires and added")
            }
        }
    }

    /// Parses an ISO 8601 date (the start of the day in UTC) or time. Returns seconds since 1970. Nil if the text is
    /// invalid or the date does not exist.
    package static func date(_ text: String) -> Int64? {
        let full = text.contains("T") ? text : text + "T00:00:00Z"
        let style = Date.ISO8601FormatStyle()
        // The parser accepts 30 February as 2 March.
        guard let date = try? style.parse(full), let day = try? style.parse("\(full.prefix(10))T00:00:00Z"),
            day.formatted(.iso8601).prefix(10) == full.prefix(10)
        else { return nil }
        return Int64(date.timeIntervalSince1970)
    }
}
