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

    /// The part of the route that failed.
    var hop: StreamEnd.Hop {
        switch self {
        case .notRequested(let error): error.hop
        case .ended(let end): end.hop
        }
    }

    var reply: SOCKS5Reply {
        switch self {
        case .notRequested(let error): error.reply
        case .ended(let end): SOCKS5Reply(end)
        }
    }

    /// Whether the exit refused the client or its request.
    var isDenial: Bool {
        switch self {
        case .ended(.notAllowed), .notRequested(.offerFailed(.notAllowed, _, _)): true
        case .ended, .notRequested: false
        }
    }

    /// Whether the exit, or a relay on the path to it, is the cause.
    var isFailureOfExit: Bool {
        switch self {
        // The exit is shutting down; another exit may succeed.
        case .ended(.shuttingDown): true
        // A denial is not a failure of the exit.
        case .notRequested, .ended: !self.isDenial && (self.hop == .relay || self.hop == .exit)
        }
    }

    /// Returns whether another exit may succeed. An IP address that one exit does not allow is not tried with other
    /// exits. A host name is tried, because other exits may have other rules for it or resolve it to other addresses.
    func isWorthAnotherExit(for target: TargetAddress) -> Bool {
        guard case .ended(.notAllowed) = self else { return self.isFailureOfExit }
        if case .domain = target.host { return true }
        return false
    }

    /// The remedy for the entry's operator. Nil if there is none.
    var remedy: Remedy? {
        switch self {
        case .notRequested(let error): self.isDenial ? .identity : error.remedy
        case .ended: self.isDenial ? .identity : nil
        }
    }

    var text: String {
        switch self {
        case .notRequested(let error): "\(error)"
        case .ended(let end): "\(end)"
        }
    }
}
