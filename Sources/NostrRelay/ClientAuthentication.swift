//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto

/// The public keys that one client of a relay has authenticated (NIP-42). It performs no I/O and has no clock.
struct ClientAuthentication {
    /// The challenge of this connection.
    let challenge: String
    /// Host and port that AUTH events must name: those of the relay's public URL, or else the Host header field of the
    /// client's upgrade request.
    private let host: String
    /// Maximum difference between `created_at` of an AUTH event and the relay's clock, in seconds.
    private let maximumAge: Int
    private var keys: Set<PublicKey> = []

    /// Maximum number of public keys that one connection can authenticate.
    static let maximumKeys = 64

    /// An AUTH event was rejected.
    struct Refusal: Error, Hashable, Sendable {
        /// Why it was rejected, as text for the OK message.
        let reason: String
    }

    init(challenge: String, host: String, maximumAge: Int) {
        self.challenge = challenge
        self.host = host
        self.maximumAge = maximumAge
    }

    /// Whether the client has authenticated this key.
    func contains(_ key: PublicKey) -> Bool { self.keys.contains(key) }

    /// Checks an AUTH event and records its key.
    ///
    /// - Parameters:
    ///   - event: The event. Its id and signature are verified last, because that is expensive.
    ///   - now: The current time in seconds since 1970.
    mutating func add(_ event: Event, at now: Int64) throws(Refusal) {
        guard event.kind == .authentication else { throw Refusal(reason: "an AUTH event must have kind 22242") }
        guard event.firstValue(of: "challenge")?.text == self.challenge else {
            throw Refusal(reason: "the challenge tag does not match the challenge of this connection")
        }
        // The client chooses `created_at`, so the difference may overflow.
        let (age, isOverflow) = now.subtractingReportingOverflow(event.createdAt)
        guard !isOverflow, age.magnitude <= UInt64(self.maximumAge) else {
            throw Refusal(reason: "created_at differs by more than \(self.maximumAge) seconds from the relay's clock")
        }
        guard let relay = event.firstValue(of: "relay"), self.isThisRelay(relay.text) else {
            throw Refusal(reason: "the relay tag does not name this relay")
        }
        guard (try? event.verify()) != nil else { throw Refusal(reason: "id or signature does not verify") }
        guard self.keys.count < Self.maximumKeys || self.keys.contains(event.pubkey) else {
            throw Refusal(reason: "at most \(Self.maximumKeys) keys per connection")
        }
        self.keys.insert(event.pubkey)
    }

    /// Whether a URL names this relay. Only host and port are compared.
    private func isThisRelay(_ url: String) -> Bool {
        guard let relay = try? RelayURL(url), let own = try? RelayURL((relay.isSecure ? "wss://" : "ws://") + self.host)
        else { return false }
        return relay.host == own.host && relay.port == own.port
    }
}
