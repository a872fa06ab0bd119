//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A client's request to open a stream to a target of the exit.
public struct StreamRequest: Hashable, Sendable {
    /// The destination as the client sent it. An exit that is not public never connects to it.
    public var destination: String
    /// The requested port. Nil in plain NIP-74, which cannot transmit a port.
    public var port: UInt16?
    /// Identifies the CONNECT of plain NIP-74. Nil in a session, where a request cannot be replayed.
    public var connect: Connect?

    /// The values that identify a CONNECT among all messages of its author.
    public struct Connect: Hashable, Sendable {
        /// The stream's UUID.
        public var key: String
        /// The date of the event, in seconds since 1970.
        public var createdAt: Int64
    }

    /// Creates a request.
    public init(destination: String, port: UInt16?, connect: Connect? = nil) {
        self.destination = destination
        self.port = port
        self.connect = connect
    }
}
