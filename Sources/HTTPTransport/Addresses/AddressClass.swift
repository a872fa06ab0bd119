//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What an IP address is for, as far as dialling addresses that others name is concerned.
public enum AddressClass: Hashable, Sendable {
    /// Anything that routes on the internet.
    case global
    /// This host.
    case loopback
    /// Private networks: RFC 1918, CGNAT (RFC 6598), unique local IPv6 (RFC 4193).
    case privateNetwork
    /// Link-local, where cloud metadata services live.
    case linkLocal
    /// Cloud metadata services outside the link-local ranges.
    case metadata
    /// Multicast and broadcast.
    case multicast
    /// The unspecified address, and ranges reserved for documentation, benchmarks and the future.
    case reserved

    /// The class of `address`. An IPv4 address inside an IPv6 one (mapped, 6to4, NAT64) counts as itself. Unix sockets
    /// are reserved.
    public init(_ address: SocketAddress) {
        guard let text = address.ipAddress, let bytes = Self.bytes(of: text) else {
            self = .reserved
            return
        }
        self = Self.ofBytes(bytes)
    }

    fileprivate static func bytes(of text: String) -> [UInt8]? {
        let bare = text.split(separator: "%").first.map(String.init) ?? text
        for (family, count) in [(AF_INET, 4), (AF_INET6, 16)] {
            var bytes = [UInt8](repeating: 0, count: count)
            if unsafe inet_pton(family, bare, &bytes) == 1 { return bytes }
        }
        return nil
    }

    private static let mappedPrefix: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]

    /// IPv6 addresses that have an IPv4 address in them, and where: ::ffff:a.b.c.d, the deprecated ::a.b.c.d, NAT64 (RFC 6052),
    /// 6to4 (RFC 3056).
    static let embeddings: [(prefix: [UInt8], offset: Int)] = [
        (mappedPrefix, 12), ([UInt8](repeating: 0, count: 12), 12),
        ([0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0], 12), ([0x20, 0x02], 2),
    ]

    /// Without ::ffff: in front.
    static func unmapped(_ bytes: [UInt8]) -> [UInt8] {
        bytes.count == 16 && bytes.starts(with: Self.mappedPrefix) ? Array(bytes[12...]) : bytes
    }

    /// The class of four or sixteen bytes.
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
        // NAT64 of a network's own (RFC 8215), with the IPv4 address wherever that likes it.
        case (0x00, 0x64) where bytes[2..<6] == [0xff, 0x9b, 0x00, 0x01]: return .privateNetwork
        // Documentation; protocol assignments (RFC 2928), with the tunnels of Teredo among them.
        case (0x20, 0x01) where bytes[2] == 0x0d && bytes[3] == 0xb8 || bytes[2] < 0x02: return .reserved
        case (0x20...0x3f, _): return .global
        default: return .reserved
        }
    }
}

extension SocketAddress {
    /// Four or sixteen bytes; nil for a Unix socket.
    public var addressBytes: [UInt8]? { self.ipAddress.flatMap(AddressClass.bytes) }

    /// Those of an address as text, an IPv4 address in the form of an IPv6 one as itself; nil for what is no address.
    public static func canonicalBytes(of text: String) -> [UInt8]? {
        AddressClass.bytes(of: text).map(AddressClass.unmapped)
    }
}
