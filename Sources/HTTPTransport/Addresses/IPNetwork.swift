//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// An IPv4 or IPv6 network: an address prefix and its length in bits.
package struct IPNetwork: Hashable, Sendable {
    private let prefix: [UInt8]
    private let length: Int

    /// Parses `ADDRESS/LENGTH`, or a single address. Returns nil if `text` is neither.
    ///
    /// Address bits after the prefix are ignored. An IPv4-mapped IPv6 network becomes an IPv4 network.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), let address = try? SocketAddress(ipAddress: String(parts[0]), port: 0),
            let bytes = address.addressBytes
        else { return nil }
        let length = parts.count == 2 ? Int(parts[1]) : bytes.count * 8
        guard let length, (0...bytes.count * 8).contains(length) else { return nil }
        self.prefix = AddressClass.unmapped(bytes)
        self.length = length - (bytes.count - self.prefix.count) * 8
        guard self.length >= 0 else { return nil }
    }

    /// Shortest prefix of a network that ``hasNoPublicAddress`` recognizes: that of fc00::/7, the largest private
    /// network. Larger reserved networks, such as 240.0.0.0/4, are not recognized.
    private static let shortestPrefix = 7

    /// Whether the network contains no public internet address, judged by ``AddressClass``.
    ///
    /// False for every network with a prefix shorter than 7 bits.
    package var hasNoPublicAddress: Bool {
        guard self.length >= Self.shortestPrefix, !self.coversMostOfEmbeddedIPv4 else { return false }
        let ends = [UInt8(0), 0xff].map { filling in
            self.prefix.indices.map { index -> UInt8 in
                let bits = min(8, max(0, self.length - index * 8))
                let mask = UInt8(truncatingIfNeeded: 0xff00 >> bits)
                return self.prefix[index] & mask | filling & ~mask
            }
        }
        return ends.allSatisfy { AddressClass.ofBytes($0) != .global }
    }

    /// Whether the IPv6 network embeds an IPv4 network with a prefix shorter than 7 bits.
    ///
    /// Such a network contains public IPv4 addresses even if its first and last addresses are not public.
    private var coversMostOfEmbeddedIPv4: Bool {
        self.prefix.count == 16
            && AddressClass.embeddings.contains { form in
                self.length < form.offset * 8 + Self.shortestPrefix
                    && Self.agree(self.prefix, form.prefix, bits: min(self.length, form.prefix.count * 8))
            }
    }

    /// Whether the network contains `address`.
    ///
    /// An IPv4-mapped IPv6 address is treated as IPv4. False for a Unix socket.
    package func contains(_ address: SocketAddress) -> Bool {
        guard let bytes = address.addressBytes.map(AddressClass.unmapped), bytes.count == self.prefix.count else {
            return false
        }
        return Self.agree(bytes, self.prefix, bits: self.length)
    }

    /// Whether the first `bits` bits of two addresses of the same length are equal.
    private static func agree(_ left: [UInt8], _ right: [UInt8], bits: Int) -> Bool {
        let whole = bits / 8
        guard left[..<whole] == right[..<whole] else { return false }
        let rest = bits % 8
        guard rest > 0 else { return true }
        let mask = UInt8(truncatingIfNeeded: 0xff00 >> rest)
        return left[whole] & mask == right[whole] & mask
    }
}
