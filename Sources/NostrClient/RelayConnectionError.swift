//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOPosix

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Why there is no connection to a relay.
public enum RelayConnectionError: Error, Sendable {
    /// Every address of the relay is one that others may not make us dial.
    case addressNotAllowed
    /// The node is shutting down.
    case stopped

    /// Any error in the words of the system rather than of the library.
    static func text(of error: any Error) -> String {
        switch error {
        case let error as IOError: unsafe String(cString: strerror(error.errnoCode))
        case let error as NIOConnectionError:
            error.connectionErrors.last.map { Self.text(of: $0.error) } ?? "\(error.host) cannot be reached"
        case ChannelError.connectTimeout: "no connection in time"
        default: "\(error)"
        }
    }
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
