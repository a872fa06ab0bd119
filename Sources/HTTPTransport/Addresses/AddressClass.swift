//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The kind of network that an IP address belongs to.
///
/// Callers use it to decide whether to connect to an address that an untrusted party supplied.
package enum AddressClass: Hashable, Sendable {
    /// A public address on the internet.
    case global
    /// The local host: 127.0.0.0/8 and ::1.
    case loopback
    /// Private networks: RFC 1918, carrier-grade NAT (RFC 6598), unique local and site-local IPv6 (RFC 4193, RFC 3879),
    /// and local-use NAT64 (RFC 8215).
    case privateNetwork
    /// Link-local addresses, which include most cloud metadata services.
    case linkLocal
    /// Cloud metadata services outside the link-local range (Alibaba Cloud, Azure, and AWS over IPv6).
    case metadata
    /// Multicast and broadcast addresses.
    case multicast
    /// The unspecified address, ranges reserved for documentation, benchmarks, protocol assignments and future use, and
    /// everything that is not an IP address.
    case reserved

    /// Classifies an address.
    ///
    /// An IPv6 address that embeds an IPv4 address (IPv4-mapped, IPv4-compatible, 6to4, NAT64) gets the class of the
    /// IPv4 address. A Unix socket is ``reserved``.
    package init(_ address: SocketAddress) {
        guard let text = address.ipAddress, let bytes = Self.bytes(of: text) else {
            self = .reserved
            return
        }
        self = Self.ofBytes(bytes)
    }

    fileprivate static func bytes(of text: String) -> [UInt8]? {
        // The system's function ends the text at a NUL.
        guard !text.utf8.contains(0) else { return nil }
        let bare = text.split(separator: "%").first.map(String.init) ?? text
        for (family, count) in [(AF_INET, 4), (AF_INET6, 16)] {
            var bytes = [UInt8](repeating: 0, count: count)
            if unsafe inet_pton(family, bare, &bytes) == 1 { return bytes }
        }
        return nil
    }

    private static let mappedPrefix: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]

    /// IPv6 prefixes that embed an IPv4 address, with its byte offset: IPv4-mapped (::ffff:a.b.c.d), the deprecated
    /// IPv4-compatible form (::a.b.c.d), NAT64 (RFC 6052), and 6to4 (RFC 3056).
    static let embeddings: [(prefix: [UInt8], offset: Int)] = [
        (mappedPrefix, 12), ([UInt8](repeating: 0, count: 12), 12),
        ([0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0], 12), ([0x20, 0x02], 2),
    ]

    /// Converts an IPv4-mapped address to its four IPv4 bytes. Other addresses are returned unchanged.
    static func unmapped(_ bytes: [UInt8]) -> [UInt8] {
        bytes.count == 16 && bytes.starts(with: Self.mappedPrefix) ? Array(bytes[12...]) : bytes
    }

    /// Classifies the bytes of an IPv4 (4 bytes) or IPv6 (16 bytes) address.
    static func ofBytes(_ bytes: [UInt8]) -> AddressClass {
        bytes.count == 4 ? Self.classify4(bytes) : Self.classify6(bytes)
    }

    private static func classify4(_ bytes: [UInt8]) -> AddressClass {
        switch (bytes[0], bytes[1], bytes[2]) {
        case (127, _, _): .loopback
        case (100, 100, 100) where bytes[3] == 200, (168, 63, 129) where bytes[3] == 16: .metadata
        case (10, _, _), (192, 168, _), (172, 16...31, _), (100, 64...127, _): .privateNetwork
        case (169, 254, _): .linkLocal
        case (224...239, _, _), (255, 255, 255): .multicast
        case (0, _, _), (240..., _, _), (192, 0, 0), (192, 0, 2), (198, 18...19, _), (198, 51, 100), (203, 0, 113):
            .reserved
        default: .global
        }
    }

    private static func classify6(_ bytes: [UInt8]) -> AddressClass {
        let leadingZeros = bytes.prefix { $0 == 0 }.count
        if leadingZeros >= 15 { return bytes[15] == 1 ? .loopback : .reserved }
        if let form = Self.embeddings.first(where: { bytes.starts(with: $0.prefix) }) {
            return Self.classify4(Array(bytes[form.offset..<form.offset + 4]))
        }
        if bytes[..<4] == [0xfd, 0x00, 0x0e, 0xc2], bytes[4..<14].allSatisfy({ $0 == 0 }), bytes[14...] == [0x02, 0x54]
        {
            return .metadata
        }
        switch (bytes[0], bytes[1]) {
        case (0xfe, 0x80...0xbf): return .linkLocal
        case (0xfe, 0xc0...0xff), (0xfc...0xfd, _): return .privateNetwork
        case (0xff, _): return .multicast
        // Local-use NAT64 (RFC 8215). The position of the IPv4 address depends on the local configuration.
        case (0x00, 0x64) where bytes[2..<6] == [0xff, 0x9b, 0x00, 0x01]: return .privateNetwork
        // Documentation (RFC 3849), and protocol assignments (RFC 2928), which include Teredo.
        case (0x20, 0x01) where bytes[2] == 0x0d && bytes[3] == 0xb8 || bytes[2] < 0x02: return .reserved
        case (0x20...0x3f, _): return .global
        default: return .reserved
        }
    }
}

extension SocketAddress {
    /// The IP address in network byte order, 4 or 16 bytes. Nil for a Unix socket.
    package var addressBytes: [UInt8]? { self.ipAddress.flatMap(AddressClass.bytes) }

    /// Parses an IP address and returns its bytes in network byte order.
    ///
    /// An IPv4-mapped IPv6 address is returned as 4 bytes, so that both notations compare equal. An IPv6 zone is
    /// ignored. Returns nil if `text` is not an IP address.
    package static func canonicalBytes(of text: String) -> [UInt8]? {
        AddressClass.bytes(of: text).map(AddressClass.unmapped)
    }
}
