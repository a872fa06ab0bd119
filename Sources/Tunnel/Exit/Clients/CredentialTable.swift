//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto

/// The credentials of the clients in an access list, and of those that were removed from it recently. It finds the
/// credential of an offer by its hint, without trying all of them.
struct CredentialTable {
    /// How long a removed client still gets a refusal with a reason, in seconds.
    private static let revocationMemory: Int64 = 30 * 86_400
    /// Maximum number of removed clients.
    private static let maximumRevocations = 10_000
    /// Maximum number of periods with an index of hints: the window of dates can touch two, and the clock may step.
    private static let maximumPeriods = 3

    private let key: SecretKey
    private var listed: [PublicKey: Credential] = [:]
    /// Removed clients, with the time until which they are kept, in seconds since 1970.
    private var revoked: [PublicKey: (credential: Credential, until: Int64)] = [:]
    /// The identities by hint, for each period that was used.
    private var hints: [Int64: [UInt64: [PublicKey]]] = [:]

    /// - Parameter key: The exit's long-term key.
    init(key: SecretKey) { self.key = key }

    /// Applies a new access list. Takes about 35 µs for each identity that was not in the previous one.
    ///
    /// - Parameter now: Seconds since 1970.
    mutating func update(_ access: AuthorizedKeys, at now: Int64) {
        self.revoked = self.revoked.filter { $0.value.until > now && access.grants[$0.key] == nil }
        for (identity, credential) in self.listed where access.grants[identity] == nil {
            self.listed[identity] = nil
            if self.revoked.count >= Self.maximumRevocations,
                let oldest = self.revoked.min(by: { $0.value.until < $1.value.until })
            {
                self.revoked[oldest.key] = nil
            }
            self.revoked[identity] = (credential, now + Self.revocationMemory)
        }
        for identity in access.grants.keys where self.listed[identity] == nil {
            // A key that is not on the curve has no owner.
            self.listed[identity] = try? Credential(
                identity: self.key,
                peer: identity,
                exit: self.key.publicKey
            )
        }
        self.hints = [:]
    }

    /// Returns the identity whose credential has a hint and satisfies a condition. Several may have the same hint by
    /// chance.
    mutating func find(
        hint: UInt64,
        date: Int64,
        where isProven: (Credential) -> Bool
    ) -> (identity: PublicKey, credential: Credential)? {
        let period = Credential.period(of: date)
        if self.hints[period] == nil {
            if self.hints.count >= Self.maximumPeriods { self.hints = [:] }
            self.hints[period] = self.index(at: date)
        }
        for identity in self.hints[period]?[hint] ?? [] {
            guard let credential = self.listed[identity] ?? self.revoked[identity]?.credential,
                isProven(credential)
            else { continue }
            return (identity, credential)
        }
        return nil
    }

    private func index(at date: Int64) -> [UInt64: [PublicKey]] {
        var index: [UInt64: [PublicKey]] = [:]
        index.reserveCapacity(self.listed.count + self.revoked.count)
        for (identity, credential) in self.listed { index[credential.hint(at: date), default: []].append(identity) }
        for (identity, entry) in self.revoked {
            index[entry.credential.hint(at: date), default: []].append(identity)
        }
        return index
    }
}
