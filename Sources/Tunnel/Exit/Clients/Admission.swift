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
    private var messagesPerSecond: Int
    /// By relay, so that a flood through one relay does not lock out the clients of the others.
    private var messages: [PathID: TokenBucket] = [:]
    private var offers: TokenBucket

    /// - Parameter messagesPerSecond: Messages of unknown keys on each relay, and offers on all relays; twice as many at
    ///   once.
    init(messagesPerSecond: Int, now: NIODeadline) {
        self.messagesPerSecond = messagesPerSecond
        self.offers = TokenBucket(perSecond: messagesPerSecond, now: now)
    }

    mutating func setRate(_ messagesPerSecond: Int, now: NIODeadline) {
        guard messagesPerSecond != self.messagesPerSecond else { return }
        self = Admission(messagesPerSecond: messagesPerSecond, now: now)
    }

    /// Whether to verify one more message of an unknown key.
    mutating func admitMessage(on path: PathID, at now: NIODeadline) -> Bool {
        self.messages[path, default: TokenBucket(perSecond: self.messagesPerSecond, now: now)].take(at: now)
    }

    /// Whether to answer one more offer, or question about a session. Each costs signatures, also from known keys.
    mutating func admitOffer(at now: NIODeadline) -> Bool { self.offers.take(at: now) }

    // MARK: Permissions

    /// Whether plain NIP-74 is served. It proves no identity, so an exit with a list of keys serves only sessions.
    static func servesPlain(_ configuration: ExitConfiguration) -> Bool {
        configuration.protocolChoice != .session && configuration.access == nil
    }

    /// What a stream needs a permission for: the port of a service. Nil for a target on the internet and for no port, for
    /// which a permission for certain services is not enough.
    static func permission(for request: StreamRequest, _ configuration: ExitConfiguration) -> UInt16? {
        configuration.policy != nil && ClearnetTarget(request) != nil ? nil : request.port
    }

    /// Whether a client may still use everything that it has used.
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
