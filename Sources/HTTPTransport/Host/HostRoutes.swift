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

    /// The default gateway of this machine for IPv4. Nil if there is none, and on systems other than Linux.
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
