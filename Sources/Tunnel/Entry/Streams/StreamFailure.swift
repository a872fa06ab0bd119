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

    init(_ end: StreamEnd) {
        self.hop = end.hop
        self.reason = "\(end)"
        self.end = end
    }

    init(hop: StreamEnd.Hop, reason: String) {
        self.hop = hop
        self.reason = reason
        self.end = nil
    }

    public var description: String { "\(self.hop.rawValue): \(self.reason)" }
}
