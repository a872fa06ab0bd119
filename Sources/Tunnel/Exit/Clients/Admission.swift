//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NostrCrypto
import TunnelProtocol

/// Limits the rate of messages from unknown clients, and decides which client may open which stream.
struct Admission {
    /// The rates of messages from unknown keys, per second. Bursts may be twice as large.
    struct Rates: Equatable {
        var messages: Int
        /// The rate of messages whose clients open no stream afterwards. It limits what a flood of unused offers costs.
        /// Bursts may be as large as the rate of all messages.
        var unused: Int
    }

    private var rates: Rates
    private var messages: TokenBucket
    private var unused: TokenBucket
    private var offers: TokenBucket

    /// Offers have twice the rate of messages, because they include those of known keys.
    init(_ rates: Rates, now: NIODeadline) {
        self.rates = rates
        self.messages = TokenBucket(perSecond: rates.messages, now: now)
        self.unused = TokenBucket(perSecond: rates.unused, burst: max(rates.messages, 2 * rates.unused), now: now)
        self.offers = TokenBucket(perSecond: 2 * rates.messages, now: now)
    }

    mutating func setRates(_ rates: Rates, now: NIODeadline) {
        guard rates != self.rates else { return }
        self = Admission(rates, now: now)
    }

    /// Returns whether another message from an unknown key may be verified.
    mutating func admitMessage(at now: NIODeadline) -> Bool {
        guard self.unused.take(at: now) else { return false }
        guard self.messages.take(at: now) else {
            self.unused.refund()
            return false
        }
        return true
    }

    /// Records that a client whose message was admitted uses what it requested.
    mutating func recordUse() { self.unused.refund() }

    /// When the next message from an unknown key may be verified.
    func nextMessage(at now: NIODeadline) -> NIODeadline {
        max(self.messages.nextToken(at: now), self.unused.nextToken(at: now))
    }

    /// Returns whether another offer, or query about a session, may be answered. The limit includes known keys, because
    /// each answer needs signatures.
    mutating func admitOffer(at now: NIODeadline) -> Bool { self.offers.take(at: now) }

    // MARK: Permissions

    /// Whether plain NIP-74 is served. It does not authenticate clients, so an exit with a list of keys serves only
    /// sessions.
    static func servesPlain(_ configuration: ExitConfiguration) -> Bool {
        configuration.protocolChoice != .session && configuration.access == nil
    }

    /// The service port for which a stream needs a permission. Nil for a target on the internet, and for a request
    /// without a port: a permission that is limited to certain services is then not sufficient.
    static func permission(for request: StreamRequest, _ configuration: ExitConfiguration) -> UInt16? {
        configuration.policy != nil && ClearnetTarget(request) != nil ? nil : request.port
    }

    /// Returns whether a client still has permission for everything that it has used.
    static func mayContinue(
        _ identity: PublicKey?,
        usedPorts: Set<UInt16?>,
        access: AuthorizedKeys,
        at now: Int64
    ) -> Bool {
        if let identity, !access.contains(identity, at: now) { return false }
        return usedPorts.allSatisfy { access.allows(identity, port: $0, at: now) }
    }
}
