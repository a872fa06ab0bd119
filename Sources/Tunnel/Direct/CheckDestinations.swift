//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import STUN

/// Decides to which addresses checks and STUN requests may be sent: a peer or a STUN server may name an address that the system
/// refuses, or that of a victim.
struct CheckDestinations {
    /// The answer for one datagram.
    enum Admission {
        case allowed
        /// There is no route, or the system has recently refused a datagram to the address.
        case unreachable
        case rateLimited
    }

    /// IP addresses to which the system does not let this node send, and until when they are left out.
    private var refused: [[UInt8]: NIODeadline] = [:]
    private var ratesByNetwork = PrefixRates(perSecond: Self.byNetwork.perSecond, burst: Self.byNetwork.burst)
    private var totalRate = TokenBucket(perSecond: Self.total.perSecond, burst: Self.total.burst, now: .now())

    /// Checks and STUN requests per second, and at once: to one network, and to all.
    private static let byNetwork = (perSecond: 20, burst: 200)
    private static let total = (perSecond: 200, burst: 2_000)
    /// Maximum number of refused addresses that are remembered, and for how long.
    private static let refusals = (count: 64, time: TimeAmount.minutes(5))

    /// Whether a check or a STUN request may be sent to an address now.
    mutating func admit(_ address: TransportAddress, at now: NIODeadline) -> Admission {
        guard self.refused[address.bytes].map({ $0 <= now }) ?? true, let remote = address.socketAddress,
            HostRoutes.reach(address)
        else { return .unreachable }
        return self.ratesByNetwork.admit(remote, at: now) && self.totalRate.take(at: now) ? .allowed : .rateLimited
    }

    /// Leaves out an IP address for some time, because the system has refused a datagram to it. If there are many, the oldest
    /// one is forgotten.
    mutating func refuse(_ address: TransportAddress, at now: NIODeadline) {
        let isFull = self.refused[address.bytes] == nil && self.refused.count >= Self.refusals.count
        if isFull, let oldest = self.refused.min(by: { $0.value < $1.value })?.key { self.refused[oldest] = nil }
        self.refused[address.bytes] = now + Self.refusals.time
    }

    /// In another network, the system may allow what it has refused.
    mutating func networkChanged() { self.refused = [:] }
}
