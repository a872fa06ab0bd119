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
    private var messages: TokenBucket
    private var offers: TokenBucket

    /// - Parameter messagesPerSecond: Maximum number of messages per second from unknown keys. Bursts may be twice as
    ///   large. Offers have twice the rate, because they include those of known keys.
    init(messagesPerSecond: Int, now: NIODeadline) {
        self.messagesPerSecond = messagesPerSecond
        self.messages = TokenBucket(perSecond: messagesPerSecond, now: now)
        self.offers = TokenBucket(perSecond: 2 * messagesPerSecond, now: now)
    }

    mutating func setRate(_ messagesPerSecond: Int, now: NIODeadline) {
        guard messagesPerSecond != self.messagesPerSecond else { return }
        self = Admission(messagesPerSecond: messagesPerSecond, now: now)
    }

    /// Returns whether another message from an unknown key may be verified.
    mutating func admitMessage(at now: NIODeadline) -> Bool { self.messages.take(at: now) }

    /// When the next message from an unknown key may be verified.
    func nextMessage(at now: NIODeadline) -> NIODeadline { self.messages.nextToken(at: now) }

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
