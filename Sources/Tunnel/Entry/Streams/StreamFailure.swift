//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import TunnelProtocol

/// The error for a stream that could not be opened, or that ended with an error.
public struct StreamFailure: Error, CustomStringConvertible, Sendable {
    /// The part of the route that failed.
    public let hop: StreamEnd.Hop
    /// An error message for users.
    public let reason: String
    /// The reason why the open stream ended. Nil if the stream was not opened, or if the caller used it incorrectly.
    public let end: StreamEnd?
    /// Why the stream could not be opened, or why it ended. Nil if there is no such reason, for example for an invalid name.
    public let cause: StreamEnd?

    init(_ end: StreamEnd) {
        self.hop = end.hop
        self.reason = "\(end)"
        self.end = end
        self.cause = end
    }

    init(_ failure: ProxyFailure) {
        self.hop = failure.hop
        self.reason = failure.text
        self.end = nil
        self.cause =
            switch failure {
            case .ended(let end), .notRequested(.offerFailed(let end, _, _)): end
            case .refusedToDevice: .notAllowed
            case .notRequested: nil
            }
    }

    init(hop: StreamEnd.Hop, reason: String) {
        self.hop = hop
        self.reason = reason
        self.end = nil
        self.cause = nil
    }

    public var description: String { "\(self.hop.rawValue): \(self.reason)" }
}
