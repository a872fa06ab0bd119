//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A space of packet numbers for the datagrams of a direct path. Numbers never restart in a space, whatever addresses the path
/// uses.
package enum DatagramSpace: UInt8, Hashable, Sendable, CaseIterable {
    /// Packets of the session.
    case packets = 0
    /// Checks of addresses (``ConnectivityCheck``). They are sent to addresses that the path does not use yet.
    case checks = 1
}
