//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// An IPv4 or IPv6 network.
public struct IPNetwork: Hashable, Sendable {
    private let prefix: [UInt8]
    private let length: Int

    /// Reads `ADDRESS/LENGTH`, or an address alone.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), let address = try? SocketAddress(ipAddress: String(parts[0]), port: 0),
            let bytes = address.addressBytes
        else { return nil }
        let length = parts.count == 2 ? Int(parts[1]) : bytes.count * 8
        guard let length, (0...bytes.count * 8).contains(length) else { return nil }
        let isMapped = bytes.count == 16 && bytes[..<10].allSatisfy { $0 == 0 } && bytes[10...11] == [0xff, 0xff]
        guard !isMapped || length >= 96 else { return nil }
        self.prefix = isMapped ? Array(bytes[12...]) : bytes
        self.length = isMapped ? length - 96 : length
    }

    /// The largest network off the internet has a prefix of seven bits (fc00::/7).
    private static let shortestPrefix = 7

    /// Whether no address of the internet is in it.
    public var isOffTheInternet: Bool {
        guard self.length >= Self.shortestPrefix, !self.isMostOfAnEmbedding else { return false }
        let ends = [UInt8(0), 0xff].map { filling in
            self.prefix.indices.map { index -> UInt8 in
                let bits = min(8, max(0, self.length - index * 8))
                let mask = UInt8(truncatingIfNeeded: 0xff00 >> bits)
                return self.prefix[index] & mask | filling & ~mask
            }
        }
        return ends.allSatisfy { AddressClass.ofBytes($0) != .global }
    }

    /// Prefixes of IPv6 behind which an IPv4 address stands: NAT64, 6to4, and the deprecated form.
    private static let embeddings: [(prefix: [UInt8], length: Int)] = [
        ([0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0], 96), ([0x20, 0x02], 16),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 96),
    ]

    /// Whether so much of IPv4 stands behind it that some of that is the internet, whatever its ends are.
    private var isMostOfAnEmbedding: Bool {
        self.prefix.count == 16
            && Self.embeddings.contains { embedding in
                let common = min(self.length, embedding.length)
                let isInside = (0..<common).allSatisfy { bit in
                    let mask = UInt8(0x80) >> UInt8(bit % 8)
                    return self.prefix[bit / 8] & mask == embedding.prefix[bit / 8] & mask
                }
                return isInside && self.length < embedding.length + Self.shortestPrefix
            }
    }

    /// Whether an address is in it. An IPv4 address in the form of an IPv6 one counts as itself.
    public func contains(_ address: SocketAddress) -> Bool {
        guard let bytes = address.addressBytes.map(AddressClass.unmapped) else { return false }
        guard bytes.count == self.prefix.count else { return false }
        let whole = self.length / 8
        guard bytes[..<whole] == self.prefix[..<whole] else { return false }
        let rest = self.length % 8
        guard rest > 0 else { return true }
        let mask = UInt8(truncatingIfNeeded: 0xff00 >> rest)
        return bytes[whole] & mask == self.prefix[whole] & mask
    }
}
