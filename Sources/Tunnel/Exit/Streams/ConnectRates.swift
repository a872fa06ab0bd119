//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NostrCrypto

/// Limits how many streams each client opens per second. Clients without an identity have less, and a limit together, because
/// their keys are free. It performs no I/O.
struct ConnectRates {
    private struct Client {
        var connects: TokenBucket
        var lastUsed: NIODeadline
    }

    /// Time after which a client that opens no stream is removed. Its tokens are refilled long before.
    private static let memory: TimeAmount = .seconds(60)
    /// Maximum number of stored clients. If there are more, new ones have only the limit of all together.
    static let maximumClients = 16_384

    /// The parts of the rate for each client without an identity, and for all of them together.
    private static let strangers = (each: 10, all: 2)

    /// A changed rate applies to all clients.
    var perSecond: Int {
        didSet {
            guard self.perSecond != oldValue else { return }
            self.clients = [:]
            self.strangers = nil
        }
    }
    private var clients: [PublicKey: Client] = [:]
    /// Those of all clients without an identity.
    private var strangers: TokenBucket?

    init(perSecond: Int) { self.perSecond = perSecond }

    /// Returns whether a client may open another stream.
    ///
    /// - Parameter isKnown: Whether the key is a proven identity.
    mutating func admit(_ key: PublicKey, isKnown: Bool, at now: NIODeadline) -> Bool {
        if self.clients[key] != nil || self.clients.count < Self.maximumClients {
            let bucket =
                isKnown ? TokenBucket(perSecond: self.perSecond, now: now) : self.bucket(Self.strangers.each, at: now)
            self.clients[key, default: Client(connects: bucket, lastUsed: now)].lastUsed = now
            guard self.clients[key]?.connects.take(at: now) == true else { return false }
        }
        guard !isKnown else { return true }
        if self.strangers == nil { self.strangers = self.bucket(Self.strangers.all, at: now) }
        return self.strangers?.take(at: now) ?? false
    }

    /// Returns the bucket of clients without an identity. Bursts may last five seconds.
    private func bucket(_ part: Int, at now: NIODeadline) -> TokenBucket {
        let rate = max(1, self.perSecond / part)
        return TokenBucket(perSecond: rate, burst: 5 * rate, now: now)
    }

    /// Removes clients that have opened no stream for a while.
    mutating func sweep(at now: NIODeadline) {
        self.clients = self.clients.filter { $0.value.lastUsed + Self.memory > now }
    }
}
