//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// The IP addresses of this machine's interfaces. They are read again after some time, because they change.
package struct OwnAddresses {
    private static let lifetime: TimeAmount = .seconds(10)

    private var addresses: Set<[UInt8]> = []
    private var expires = NIODeadline.uptimeNanoseconds(0)

    /// Creates an empty set. The addresses are read when they are needed.
    package init() {}

    /// Returns whether an address is one of this machine. Packets to it do not pass a firewall between this machine and
    /// the network, even if the address is public.
    ///
    /// Reading the addresses takes about 50 µs.
    package mutating func contains(_ address: SocketAddress, at now: NIODeadline) -> Bool {
        if self.expires <= now {
            self.expires = now + Self.lifetime
            // If reading fails, the addresses that were read before still apply.
            if let devices = try? System.enumerateDevices() {
                self.addresses = Set(devices.compactMap(\.address?.addressBytes))
            }
        }
        return address.ipAddress.flatMap(SocketAddress.canonicalBytes).map(self.addresses.contains) ?? false
    }
}
