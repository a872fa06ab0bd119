//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NostrCrypto

/// The keys that may use an exit, and which services each may use.
///
/// The text format follows OpenSSH's `authorized_keys`: options, an npub or 64 hex digits, and a comment.
///
/// ```
/// npub1… laptop
/// services="22,80",expires="2027-01-31" npub1… a guest
/// services="22",expires="2026-12-01T18:00:00Z" invite:… a device whose key is not known yet
/// ```
public struct AuthorizedKeys: Hashable, Sendable {
    /// The permissions of one key.
    public struct Grant: Hashable, Sendable {
        /// Ports of the services that the key may use; nil for all.
        public var services: Set<UInt16>?
        /// Seconds since 1970 at which the grant expires; nil for never.
        public var expires: Int64?
        /// When the key was added, in seconds since 1970; nil if that is not recorded.
        public var added: Int64?
        /// Describes the owner of the key.
        public var comment: String

        /// Creates a grant. By default, it is for all services and does not expire.
        public init(services: Set<UInt16>? = nil, expires: Int64? = nil, added: Int64? = nil, comment: String = "") {
            self.services = services
            self.expires = expires
            self.added = added
            self.comment = comment
        }
    }

    /// The permission of a device whose key is not known yet. It can prove that it has the secret of the invite.
    public struct Invite: Hashable, Sendable {
        /// What verifies the proof: ``Credential/derived``.
        package var derived: [UInt8]
        /// The hash of what the device must reveal to enrol: ``InviteSecret/verifier(for:)``.
        package var verifier: Bytes32
        /// Ports of the services that the device may use; nil for all.
        public var services: Set<UInt16>?
        /// Seconds since 1970 at which the invite expires; nil for never.
        public var expires: Int64?
        /// Describes the device.
        public var comment: String

        /// Creates an invite.
        package init(
            derived: [UInt8],
            verifier: Bytes32,
            services: Set<UInt16>? = nil,
            expires: Int64? = nil,
            comment: String = ""
        ) {
            self.derived = derived
            self.verifier = verifier
            self.services = services
            self.expires = expires
            self.comment = comment
        }

        /// Creates the invite of a secret.
        package init(
            _ secret: InviteSecret,
            exit: PublicKey,
            services: Set<UInt16>? = nil,
            expires: Int64? = nil,
            comment: String = ""
        ) {
            self.init(
                derived: secret.credential(for: exit).derived,
                verifier: secret.verifier(for: exit),
                services: services,
                expires: expires,
                comment: comment
            )
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
            let parsed: AuthorizedKeysLine
            do throws(AuthorizedKeysLine.ParsingError) {
                parsed = try AuthorizedKeysLine(parsing: Substring(line))
            } catch {
                throw fail(error.reason)
            }
            switch parsed {
            case .invite(let invite):
                guard self.invites.count < Self.maximumInvites else {
                    throw fail("more than \(Self.maximumInvites) invites")
                }
                guard !self.invites.contains(where: { $0.derived == invite.derived }) else {
                    throw fail("the invite is already in the list")
                }
                self.invites.append(invite)
            case .key(let key, let grant):
                guard self.grants[key] == nil else { throw fail("the key is already in the list") }
                guard self.grants.count < Self.maximumCount else { throw fail("more than \(Self.maximumCount) keys") }
                self.grants[key] = grant
            }
        }
    }

    /// Adds a key, unless it is already in the list.
    public mutating func allow(_ key: PublicKey, _ grant: Grant = Grant()) {
        if self.grants[key] == nil { self.grants[key] = grant }
    }

    /// Removes the invite that a device used, and adds the device's key. If the key is already listed, its grant is replaced.
    mutating func enrol(_ key: PublicKey, _ grant: Grant, insteadOf derived: [UInt8]) {
        self.invites.removeAll { $0.derived == derived }
        self.grants[key] = grant
    }

    /// Adds the keys of another list that are not in this one.
    public mutating func merge(_ other: AuthorizedKeys) {
        self.grants.merge(other.grants) { old, _ in old }
        self.invites += other.invites
    }

    /// The invite with these derived keys.
    func invite(_ derived: [UInt8]) -> Invite? { self.invites.first { $0.derived == derived } }

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
}
