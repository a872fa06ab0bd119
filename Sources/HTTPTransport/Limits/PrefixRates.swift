//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// Limits the rate of requests whose source address may be forged, for each network: the first 24 bits of an IPv4 address, or
/// the first 48 bits of an IPv6 address.
package struct PrefixRates: Sendable {
    private let perSecond: Int
    private let burst: Int
    private var buckets: [[UInt8]: TokenBucket] = [:]
    private var lastSweep: NIODeadline?

    /// Maximum number of networks whose rate is remembered. When there are more at once, the others share one rate.
    package static let maximumNetworks = 4_096
    /// Minimum time between two searches for networks whose rate is not used.
    private static let sweepInterval: TimeAmount = .seconds(1)

    /// - Parameters:
    ///   - perSecond: Requests per second of a network.
    ///   - burst: Requests of a network at once.
    package init(perSecond: Int, burst: Int) {
        self.perSecond = perSecond
        self.burst = burst
    }

    /// Returns whether a request from an address is within the limit, and counts it.
    package mutating func admit(_ address: SocketAddress, at now: NIODeadline) -> Bool {
        let bytes = address.addressBytes.map(AddressClass.unmapped) ?? []
        var key = Array(bytes.prefix(bytes.count == 16 ? 6 : 3))
        if self.buckets[key] == nil, self.buckets.count >= Self.maximumNetworks {
            self.sweep(at: now)
            if self.buckets.count >= Self.maximumNetworks { key = [] }
        }
        let full = TokenBucket(perSecond: self.perSecond, burst: self.burst, now: now)
        return self.buckets[key, default: full].take(at: now)
    }

    private mutating func sweep(at now: NIODeadline) {
        guard self.lastSweep.map({ $0 + Self.sweepInterval <= now }) ?? true else { return }
        self.lastSweep = now
        self.buckets = self.buckets.filter { entry in
            var bucket = entry.value
            _ = bucket.take(0, at: now)
            return bucket.used > 0
        }
    }
}
