//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Why there is no connection to a relay.
public enum RelayConnectionError: Error, Sendable {
    /// Every address of the relay is one that others may not make us dial.
    case addressNotAllowed
    /// The node is shutting down.
    case stopped
}

extension RelayConnectionError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .addressNotAllowed:
            "the relay's address is not one that a name may make us dial (private ones: --allow-local-relays)"
        case .stopped: "stopped"
        }
    }
}
