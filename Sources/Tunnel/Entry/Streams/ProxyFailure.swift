//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import TunnelProtocol

/// The reason why a stream for a client of the entry failed.
enum ProxyFailure {
    /// The entry could not open the stream through an exit.
    case notRequested(EntryError)
    /// The stream was requested from the exit and ended with an error.
    case ended(StreamEnd)
    /// The exit knows this device, and refused the stream: it has no such service, or not for this device.
    case refusedToDevice

    /// The part of the route that failed.
    var hop: StreamEnd.Hop {
        switch self {
        case .notRequested(let error): error.hop
        case .ended(let end): end.hop
        case .refusedToDevice: .exit
        }
    }

    var reply: SOCKS5Reply {
        switch self {
        case .notRequested(let error): error.reply
        case .ended(let end): SOCKS5Reply(end)
        case .refusedToDevice: .notAllowed
        }
    }

    /// Whether the exit refused the client or its request.
    var isDenial: Bool {
        switch self {
        case .ended(.notAllowed), .refusedToDevice, .notRequested(.offerFailed(.notAllowed, _, _)): true
        case .ended, .notRequested: self.isEndOfAccess
        }
    }

    /// Whether this device had access, and has it no more.
    var isEndOfAccess: Bool {
        switch self {
        case .ended(.revoked), .ended(.expired), .notRequested(.offerFailed(.revoked, _, _)),
            .notRequested(.offerFailed(.expired, _, _)):
            true
        case .ended, .refusedToDevice, .notRequested: false
        }
    }

    /// Whether the exit, or a relay on the path to it, is the cause.
    var isFailureOfExit: Bool {
        switch self {
        // The exit is shutting down; another exit may succeed.
        case .ended(.shuttingDown): true
        // A denial is not a failure of the exit.
        case .notRequested, .ended, .refusedToDevice: !self.isDenial && (self.hop == .relay || self.hop == .exit)
        }
    }

    /// Returns whether another exit may succeed. An IP address that one exit does not allow is not tried with other
    /// exits. A host name is tried, because other exits may have other rules for it or resolve it to other addresses.
    func isWorthAnotherExit(for target: TargetAddress) -> Bool {
        switch self {
        case .ended(.notAllowed), .refusedToDevice: break
        default: return self.isFailureOfExit
        }
        if case .domain = target.host { return true }
        return false
    }

    /// The remedy for the entry's operator. Nil if there is none.
    var remedy: Remedy? {
        switch self {
        case .notRequested(let error): self.isEndOfAccess ? .invite : self.isDenial ? .identity : error.remedy
        case .ended: self.isEndOfAccess ? .invite : self.isDenial ? .identity : nil
        case .refusedToDevice: nil
        }
    }

    var text: String {
        switch self {
        case .notRequested(let error): "\(error)"
        case .ended(let end): "\(end)"
        case .refusedToDevice: "the exit knows this device, but has no service at this port for it"
        }
    }
}
