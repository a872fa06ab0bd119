//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CHostEvents
package import STUN

/// The routes of this machine.
package enum HostRoutes {
    /// Whether this machine has a route to an address. Nothing is sent to it.
    package static func reach(_ address: TransportAddress) -> Bool {
        let bytes = address.bytes
        return unsafe bytes.withUnsafeBufferPointer { unsafe nws_host_has_route($0.baseAddress, $0.count) == 1 }
    }
}
