//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore

/// What the subscriptions of each connection cost the relay without benefit: events that were compared with a filter and
/// did not match, and events that were delivered to the same connection more than once.
///
/// A connection whose allowance is used up loses the subscription that caused the cost. While all connections together
/// cost too much, this also happens to those that use up a smaller one. Clients that ask for what they need cause almost
/// no such cost, because subscriptions are indexed.
struct SubscriptionAccounts: Sendable {
    /// Identifies a connection while it is open.
    typealias Connection = Int

    private struct Account: Sendable {
        var allowance: TokenBucket
        /// What the connection may cost while all together cost too much.
        var guarantee: TokenBucket
        /// The number of the last event that was delivered.
        var lastDelivery: UInt64 = 0
        /// How often it was delivered.
        var deliveries = 0
    }

    /// Comparisons per second, and at once, of one connection and of all together. A comparison takes about 0.3 µs.
    private static let comparisons = (perConnection: 10_000, all: 200_000)
    /// Comparisons per second, and at once, of one connection while all together cost too much.
    private static let guaranteed = 1_000
    /// The cost of a repeated delivery, in comparisons.
    private static let repeatedDelivery = 25

    /// By connection. Those of closed connections are used again.
    private var accounts: [Account] = []
    private var free: [Connection] = []
    private var total: TokenBucket?
    private var lastEvent: UInt64 = 0

    /// Opens an account.
    mutating func open(at now: NIODeadline) -> Connection {
        let account = Account(
            allowance: Self.bucket(Self.comparisons.perConnection, at: now),
            guarantee: Self.bucket(Self.guaranteed, at: now)
        )
        guard let connection = self.free.popLast() else {
            self.accounts.append(account)
            return self.accounts.count - 1
        }
        self.accounts[connection] = account
        return connection
    }

    private static func bucket(_ comparisons: Int, at now: NIODeadline) -> TokenBucket {
        TokenBucket(perSecond: comparisons, burst: comparisons, now: now)
    }

    /// Closes an account. Its subscriptions must have been removed.
    mutating func close(_ connection: Connection) { self.free.append(connection) }

    /// Begins with the next event.
    mutating func beginEvent() { self.lastEvent += 1 }

    /// Charges a delivery of the current event to a connection. Returns false if the allowance is used up.
    ///
    /// - Parameter free: How many deliveries of the event cost nothing.
    mutating func chargeDelivery(_ connection: Connection, free: Int, at now: NIODeadline) -> Bool {
        if self.accounts[connection].lastDelivery != self.lastEvent {
            self.accounts[connection].lastDelivery = self.lastEvent
            self.accounts[connection].deliveries = 0
        }
        self.accounts[connection].deliveries += 1
        guard self.accounts[connection].deliveries > free else { return true }
        return self.charge(Self.repeatedDelivery, connection, at: now)
    }

    /// Charges a cost, in comparisons. Returns false if the allowance is used up.
    mutating func charge(_ cost: Int, _ connection: Connection, at now: NIODeadline) -> Bool {
        guard cost > 0 else { return true }
        if self.total == nil { self.total = Self.bucket(Self.comparisons.all, at: now) }
        let isWithinTotal = self.total?.take(cost, at: now) ?? true
        guard self.accounts[connection].allowance.take(cost, at: now) else { return false }
        return isWithinTotal || self.accounts[connection].guarantee.take(cost, at: now)
    }
}
