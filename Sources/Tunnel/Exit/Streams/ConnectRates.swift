//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NostrCrypto

/// Limits how many streams each client opens per second. It performs no I/O.
struct ConnectRates {
    private struct Client {
        var connects: TokenBucket
        var lastUsed: NIODeadline
    }

    /// Time after which a client that opens no stream is removed. Its tokens are refilled long before.
    private static let memory: TimeAmount = .seconds(60)
    /// Maximum number of stored clients. If there are more, new ones share one rate.
    static let maximumClients = 16_384

    /// A changed rate applies to all clients.
    var perSecond: Int {
        didSet { if self.perSecond != oldValue { self.clients = [:] } }
    }
    private var clients: [PublicKey: Client] = [:]
    private var others: TokenBucket?

    init(perSecond: Int) { self.perSecond = perSecond }

    /// Returns whether a client may open another stream.
    mutating func admit(_ key: PublicKey, at now: NIODeadline) -> Bool {
        guard self.clients[key] != nil || self.clients.count < Self.maximumClients else {
            if self.others == nil { self.others = TokenBucket(perSecond: self.perSecond, now: now) }
            return self.others?.take(at: now) ?? false
        }
        self.clients[
            key,
            default: Client(connects: TokenBucket(perSecond: self.perSecond, now: now), lastUsed: now)
        ].lastUsed = now
        return self.clients[key]?.connects.take(at: now) ?? false
    }

    /// Removes clients that have opened no stream for a while.
    mutating func sweep(at now: NIODeadline) {
        self.clients = self.clients.filter { $0.value.lastUsed + Self.memory > now }
    }
}
