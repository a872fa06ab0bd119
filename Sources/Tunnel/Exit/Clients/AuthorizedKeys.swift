//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
public import NostrCrypto

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// The keys that may use an exit, and which services each may use.
///
/// The text format follows OpenSSH's `authorized_keys`: options, an npub or 64 hex digits, and a comment.
///
/// ```
/// npub1… laptop
/// services="22,80",expires="2027-01-31" npub1… a guest
/// expires="2027-01-31" invite:… a device whose key is not known yet
/// ```
public struct AuthorizedKeys: Hashable, Sendable {
    /// The permissions of one key.
    public struct Grant: Hashable, Sendable {
        /// Ports of the services that the key may use; nil for all.
        public var services: Set<UInt16>?
        /// Seconds since 1970 at which the grant expires; nil for never.
        public var expires: Int64?
        /// Describes the owner of the key.
        public var comment: String

        /// Creates a grant. By default, it is for all services and does not expire.
        public init(services: Set<UInt16>? = nil, expires: Int64? = nil, comment: String = "") {
            self.services = services
            self.expires = expires
            self.comment = comment
        }
    }

    /// The permission of a device whose key is not known yet. It can prove that it has the secret of the invite.
    public struct Invite: Hashable, Sendable {
        /// What verifies the proof: ``Credential/derived``.
        package var derived: [UInt8]
        /// Seconds since 1970 at which the invite expires; nil for never.
        public var expires: Int64?
        /// Describes the device.
        public var comment: String

        /// Creates an invite.
        package init(derived: [UInt8], expires: Int64? = nil, comment: String = "") {
            self.derived = derived
            self.expires = expires
            self.comment = comment
        }

        /// Whether the invite has not expired.
        func isValid(at now: Int64) -> Bool { self.expires.map { now < $0 } ?? true }
    }

    /// The error for an invalid line.
    public struct ParsingError: Error, Hashable, Sendable, CustomStringConvertible {
        /// The line number, starting at 1.
        public let line: Int
        /// A description of the error.
        public let reason: String

        public var description: String { "line \(self.line): \(self.reason)" }
    }

    /// Maximum number of keys in a list.
    public static let maximumCount = 100_000

    /// The permissions of each key.
    public private(set) var grants: [PublicKey: Grant] = [:]

    /// The invites. At most ``maximumInvites`` are used.
    public var invites: [Invite] = []
    /// Maximum number of invites in a list.
    public static let maximumInvites = 1_000

    /// Creates an empty list, which refuses all keys.
    public init() {}

    /// Creates a list that gives the keys access to all services.
    public init(_ keys: [PublicKey]) {
        for key in keys { self.allow(key) }
    }

    /// Parses the text of a file.
    public init(parsing text: String) throws(ParsingError) {
        for (index, raw) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            let line = raw.trimmingPrefix { $0.isWhitespace }
            if line.isEmpty || line.first == "#" { continue }
            func fail(_ reason: String) -> ParsingError { ParsingError(line: index + 1, reason: reason) }
            let (key, grant): (PublicKey, Grant)
            do throws(Failure) {
                if let invite = try Self.parseInvite(Substring(line)) {
                    guard self.invites.count < Self.maximumInvites else {
                        throw Failure(text: "more than \(Self.maximumInvites) invites")
                    }
                    self.invites.append(invite)
                    continue
                }
                (key, grant) = try Self.parse(Substring(line))
            } catch {
                throw fail(error.text)
            }
            guard self.grants[key] == nil else { throw fail("the key is already in the list") }
            guard self.grants.count < Self.maximumCount else { throw fail("more than \(Self.maximumCount) keys") }
            self.grants[key] = grant
        }
    }

    /// Adds a key, unless it is already in the list.
    public mutating func allow(_ key: PublicKey, _ grant: Grant = Grant()) {
        if self.grants[key] == nil { self.grants[key] = grant }
    }

    /// Adds the keys of another list that are not in this one.
    public mutating func merge(_ other: AuthorizedKeys) {
        self.grants.merge(other.grants) { old, _ in old }
        self.invites += other.invites
    }

    /// Returns whether an invite is in the list and has not expired.
    func contains(invite derived: [UInt8], at now: Int64) -> Bool {
        self.invites.contains { $0.derived == derived && $0.isValid(at: now) }
    }

    /// Returns whether a client may use the service at a port.
    ///
    /// - Parameters:
    ///   - key: The client's proven identity; nil if it has proven none.
    ///   - port: Nil for everything that is not a service of the exit.
    ///   - now: Seconds since 1970.
    public func allows(_ key: PublicKey?, port: UInt16?, at now: Int64) -> Bool {
        guard let key, let grant = self.grants[key], grant.expires.map({ now < $0 }) ?? true else { return false }
        guard let services = grant.services else { return true }
        return port.map(services.contains) ?? false
    }

    /// Returns whether a key has a grant that has not expired.
    public func contains(_ key: PublicKey, at now: Int64) -> Bool {
        self.grants[key].map { grant in grant.expires.map { now < $0 } ?? true } ?? false
    }

    // MARK: Lines

    private struct Failure: Error {
        let text: String
    }

    private static func parse(_ line: Substring) throws(Failure) -> (PublicKey, Grant) {
        var words = Self.words(line)
        guard let first = words.first else { throw Failure(text: "expected [options] npub1… [comment]") }
        var grant = Grant()
        var key = PublicKey(userText: first)
        if key == nil, words.count > 1, first.contains("=") {
            try Self.apply(first, to: &grant)
            words.removeFirst()
            key = PublicKey(userText: words[0])
        }
        guard let key else {
            throw Failure(
                text: "expected [options] npub1… [comment]; \(first.prefix(32)) is neither a key nor an option"
            )
        }
        let comment = words.dropFirst()
        // A restriction in the wrong place must not be read as a comment.
        guard !comment.contains(where: { $0.hasPrefix("services=") || $0.hasPrefix("expires=") }) else {
            throw Failure(text: "options must precede the key")
        }
        grant.comment = comment.joined(separator: " ")
        return (key, grant)
    }

    /// Parses a line of the form `[expires="…"] invite:HEX comment`. Nil for the line of a key.
    private static func parseInvite(_ line: Substring) throws(Failure) -> Invite? {
        let words = Self.words(line)
        guard let index = words.prefix(2).firstIndex(where: { $0.hasPrefix(Self.invitePrefix) }) else { return nil }
        guard let derived = Hex.decode(String(words[index].dropFirst(Self.invitePrefix.count))),
            derived.count == Credential.derivedLength
        else { throw Failure(text: "invite: expected \(2 * Credential.derivedLength) hex digits") }
        var grant = Grant()
        if index == 1 { try Self.apply(words[0], to: &grant) }
        guard grant.services == nil else { throw Failure(text: "an invite has no option services") }
        return Invite(
            derived: derived,
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

    private static func apply(_ options: String, to grant: inout Grant) throws(Failure) {
        var isQuoted = false
        var seen: Set<String> = []
        let parts = options.split { character in
            if character == "\"" { isQuoted.toggle() }
            return character == "," && !isQuoted
        }
        guard !isQuoted else { throw Failure(text: "a quotation mark is missing") }
        for part in parts {
            let pair = part.split(separator: "=", maxSplits: 1).map(String.init)
            guard pair.count == 2 else { throw Failure(text: "\(part): expected name=\"value\"") }
            let value = pair[1].filter { $0 != "\"" }
            guard seen.insert(pair[0].lowercased()).inserted else { throw Failure(text: "\(pair[0]) is given twice") }
            switch pair[0].lowercased() {
            case "services":
                let ports = value.split(separator: ",").map { UInt16($0.filter { !$0.isWhitespace }) }
                guard !ports.isEmpty, !ports.contains(nil), !ports.contains(0) else {
                    throw Failure(text: "services: expected ports, as in services=\"22,80\"")
                }
                grant.services = Set(ports.compactMap { $0 })
            case "expires":
                guard let date = Self.date(value) else {
                    throw Failure(text: "expires: expected a date, as in 2027-01-31 or 2027-01-31T12:00:00Z")
                }
                grant.expires = date
            default:
                // An unknown restriction must not be ignored.
                throw Failure(text: "unknown option \(pair[0]); the options are services and expires")
            }
        }
    }

    /// Parses an ISO 8601 date (the start of the day in UTC) or time. Returns seconds since 1970. Nil if the text is
    /// invalid or the date does not exist.
    public static func date(_ text: String) -> Int64? {
        let full = text.contains("T") ? text : text + "T00:00:00Z"
        let style = Date.ISO8601FormatStyle()
        // The parser accepts 30 February as 2 March.
        guard let date = try? style.parse(full), let day = try? style.parse("\(full.prefix(10))T00:00:00Z"),
            day.formatted(.iso8601).prefix(10) == full.prefix(10)
        else { return nil }
        return Int64(date.timeIntervalSince1970)
    }
}
