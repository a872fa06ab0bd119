//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import STUN

/// An address of the peer, and the requests that were sent to it (``ConnectivityChecks``).
struct CheckedAddress: Sendable {
    let address: TransportAddress
    /// Number of requests since the last response, or since the peer named the address again.
    var attempts = 0
    /// When the next request is due; nil if none is.
    var due: NIODeadline?
    /// The tokens of the requests since the last response, and when each was sent.
    var pending: [(token: UInt64, sentAt: NIODeadline)] = []
    /// The shortest round trip since the address was found to work; nil if it does not.
    var roundTrip: TimeAmount?
    /// Whether the peer has sent a request from the address.
    var hasSent = false
    /// When a response last validated the address.
    var validated = NIODeadline.uptimeNanoseconds(0)

    /// Whether a response validated the address within ``ConnectivityChecks/validity``. Later it may belong to another host.
    func isValid(at now: NIODeadline) -> Bool {
        self.roundTrip != nil && self.validated + ConnectivityChecks.validity > now
    }
}
