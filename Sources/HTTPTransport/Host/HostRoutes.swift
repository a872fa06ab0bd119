//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CHostEvents
package import NIOCore
package import STUN

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// The routes of this machine.
package enum HostRoutes {
    /// Whether this machine has a route to an address. Nothing is sent to it.
    package static func reach(_ address: TransportAddress) -> Bool {
        let bytes = address.bytes
        return unsafe bytes.withUnsafeBufferPointer { unsafe nws_host_has_route($0.baseAddress, $0.count) == 1 }
    }

    /// The address of this machine from which it would send to an address of IPv4; nil without a route. Nothing is sent.
    package static func source(toward address: SocketAddress) -> [UInt8]? {
        guard let bytes = address.addressBytes, bytes.count == 4 else { return nil }
        var source = [UInt8](repeating: 0, count: bytes.count)
        let isFound = unsafe bytes.withUnsafeBufferPointer { bytes in
            unsafe source.withUnsafeMutableBufferPointer { source in
                unsafe nws_host_source_address(bytes.baseAddress, bytes.count, source.baseAddress) == 1
            }
        }
        return isFound ? source : nil
    }

    /// The address of this machine at its default gateway, if what it sends to the internet leaves by that gateway. Nil if it does
    /// not, for example because a VPN carries it.
    package static func source(throughGateway gateway: SocketAddress) -> [UInt8]? {
        // An address that is reserved for documentation (RFC 5737), so it takes the route to the internet.
        guard let internet = try? SocketAddress(ipAddress: "192.0.2.1", port: 9),
            let source = Self.source(toward: gateway), source == Self.source(toward: internet)
        else { return nil }
        return source
    }

    /// Returns the default gateway for IPv4, or nil without one. Only Linux is supported; on other systems, returns nil.
    package static func defaultGateway() -> SocketAddress? {
        guard let table = try? String(contentsOfFile: "/proc/net/route", encoding: .utf8) else { return nil }
        return self.defaultGateway(inTable: table)
    }

    /// Reads a table of the form of `/proc/net/route` (proc_net(5)).
    package static func defaultGateway(inTable table: String) -> SocketAddress? {
        var best: (address: SocketAddress, metric: Int)?
        for line in table.split(separator: "\n").dropFirst() {
            let fields = line.split(whereSeparator: \.isWhitespace)
            // A route for all destinations that is up and leads over a router.
            guard fields.count >= 8, UInt32(fields[1], radix: 16) == 0, UInt32(fields[7], radix: 16) == 0,
                let gateway = UInt32(fields[2], radix: 16), gateway != 0,
                let flags = UInt32(fields[3], radix: 16), flags & 3 == 3, let metric = Int(fields[6]),
                // The kernel prints the address as a number in its own byte order.
                let address = try? SocketAddress(
                    packedIPAddress: ByteBuffer(integer: UInt32(bigEndian: gateway)),
                    port: 0
                )
            else { continue }
            if best.map({ metric < $0.metric }) ?? true { best = (address, metric) }
        }
        return best?.address
    }
}
