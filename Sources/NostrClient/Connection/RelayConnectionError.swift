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
package enum RelayConnectionError: Error, Sendable {
    /// The policy allows none of the relay's addresses.
    case addressNotAllowed
    /// The node is shutting down.
    case stopped
    /// The system has no certificates of authorities.
    case noCertificateAuthorities
    /// TLS cannot be set up for another reason.
    case tls(String)

    /// The text of an error for messages. For an error of the system it is the text of `strerror`.
    static func text(of error: any Error) -> String {
        switch error {
        case let error as IOError: unsafe String(cString: strerror(error.errnoCode))
        case let error as NIOConnectionError:
            error.connectionErrors.last.map { Self.text(of: $0.error) } ?? "\(error.host) cannot be reached"
        case ChannelError.connectTimeout: "connecting timed out"
        default: "\(error)"
        }
    }
}

extension RelayConnectionError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .addressNotAllowed:
            "the relay's address is not public: configure this relay (--relay), or allow local relays (--allow-local-relays)"
        case .stopped: "the node is shutting down"
        case .noCertificateAuthorities:
            "no CA certificates on this system: install the package ca-certificates, or name a file with --ca-file"
        case .tls(let reason): "TLS cannot be set up: \(reason)"
        }
    }
}
