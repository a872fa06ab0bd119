//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A client's request to open a stream to a target of the exit.
package struct StreamRequest: Hashable, Sendable {
    /// The destination as the client sent it. An exit that is not public never connects to it.
    package var destination: String
    /// The requested port. Nil in plain NIP-74, which cannot transmit a port.
    package var port: UInt16?
    /// Identifies the CONNECT of plain NIP-74. Nil in a session, where a request cannot be replayed.
    package var connect: Connect?

    /// The values that identify a CONNECT among all messages of its author.
    package struct Connect: Hashable, Sendable {
        /// The stream's UUID.
        package var key: String
        /// The date of the event, in seconds since 1970.
        package var createdAt: Int64
    }

    /// Creates a request.
    package init(destination: String, port: UInt16?, connect: Connect? = nil) {
        self.destination = destination
        self.port = port
        self.connect = connect
    }
}
