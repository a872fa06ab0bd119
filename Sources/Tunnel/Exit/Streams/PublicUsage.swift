//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NostrCrypto
import TunnelProtocol

/// Counts and limits what each client uses of a public exit. A client is identified by its proven identity, or else by
/// its session's key.
struct PublicUsage {
    private struct Client {
        var streams = 0
        var connects: TokenBucket
        var throttle: Throttle?
        var lastUsed: NIODeadline
    }

    /// Time after which a client without streams is removed.
    private static let memory: TimeAmount = .seconds(60)

    /// Maximum number of stored clients. Beyond it, all without a stream are forgotten. Their limits then begin anew.
    private static let maximumClients = 16_384

    /// A changed rate limit applies to a known client only after the client was removed.
    var limits: ExitPolicy.Limits {
        didSet {
            guard self.limits.bytesPerSecond != oldValue.bytesPerSecond else { return }
            self.total = Self.throttle(self.limits.bytesPerSecond)
        }
    }
    private var total: Throttle?
    private var clients: [PublicKey: Client] = [:]

    init(_ limits: ExitPolicy.Limits) {
        self.limits = limits
        self.total = Self.throttle(limits.bytesPerSecond)
    }

    private static func throttle(_ rate: Int) -> Throttle? { rate > 0 ? Throttle(bytesPerSecond: rate) : nil }

    /// Counts a stream. Returns the throttles for its bytes; nil if the client has reached its limit on streams or
    /// connections per second.
    mutating func begin(_ key: PublicKey, at now: NIODeadline) -> [Throttle]? {
        if self.clients.count >= Self.maximumClients, self.clients[key] == nil {
            self.clients = self.clients.filter { $0.value.streams > 0 }
            guard self.clients.count < Self.maximumClients else { return nil }
        }
        var client =
            self.clients[key]
            ?? Client(
                connects: TokenBucket(perSecond: self.limits.connectsPerSecondPerClient, now: now),
                throttle: Self.throttle(self.limits.bytesPerSecondPerClient),
                lastUsed: now
            )
        defer { self.clients[key] = client }
        client.lastUsed = now
        guard client.streams < self.limits.streamsPerClient, client.connects.take(at: now) else { return nil }
        client.streams += 1
        return [client.throttle, self.total].compactMap { $0 }
    }

    mutating func end(_ key: PublicKey, at now: NIODeadline) {
        self.clients[key]?.streams -= 1
        self.clients[key]?.lastUsed = now
    }

    /// Removes clients that have had no stream for ``memory``. Their rate limits are kept until then, so that
    /// reconnecting does not reset them.
    mutating func sweep(at now: NIODeadline) {
        self.clients = self.clients.filter { $0.value.streams > 0 || $0.value.lastUsed + Self.memory > now }
    }
}
