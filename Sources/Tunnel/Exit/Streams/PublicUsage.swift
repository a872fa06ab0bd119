//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NostrCrypto
import TunnelProtocol

/// What each stranger uses of a public exit: a proven identity, else a session's key.
struct PublicUsage {
    private struct Client {
        var streams = 0
        var connects: TokenBucket
        var throttle: Throttle?
        var lastUsed: NIODeadline
    }

    /// Clients that have no stream are forgotten after it.
    private static let memory: TimeAmount = .seconds(60)

    /// Most clients that are remembered; then new ones are refused.
    private static let maximumClients = 16_384

    /// Those of a client's rate hold from its next visit on.
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

    /// Counts a stream. Returns what bounds its bytes; nil if the client has as many as it may, or asks too often.
    mutating func begin(_ key: PublicKey, at now: NIODeadline) -> [Throttle]? {
        if self.clients.count >= Self.maximumClients, self.clients[key] == nil {
            self.sweep(at: now)
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

    /// Forgets who is gone. A client's rate is remembered for a while, or a new stream would be a new start.
    mutating func sweep(at now: NIODeadline) {
        self.clients = self.clients.filter { $0.value.streams > 0 || $0.value.lastUsed + Self.memory > now }
    }
}
