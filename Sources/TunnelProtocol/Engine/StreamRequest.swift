//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// What a client asks an exit to connect to.
public struct StreamRequest: Hashable, Sendable {
    /// The destination as the client wrote it. A private exit never connects to it.
    public var destination: String
    /// The requested port; nil if the client's protocol cannot name one.
    public var port: UInt16?
    /// The CONNECT message of plain NIP-74; nil in a session, where a request cannot be replayed.
    public var connect: Connect?

    /// Distinguishes a CONNECT from all others of its author.
    public struct Connect: Hashable, Sendable {
        /// The stream's UUID.
        public var key: String
        /// Date of the event, in seconds since 1970.
        public var createdAt: Int64
    }

    public init(destination: String, port: UInt16?, connect: Connect? = nil) {
        self.destination = destination
        self.port = port
        self.connect = connect
    }
}
