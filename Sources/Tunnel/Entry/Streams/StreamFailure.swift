//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import TunnelProtocol

/// Why a stream could not be opened, or ended with an error.
public struct StreamFailure: Error, CustomStringConvertible, Sendable {
    /// Where it failed.
    public let hop: StreamEnd.Hop
    /// A description for people.
    public let reason: String
    /// How the stream ended; nil if it was never opened.
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
