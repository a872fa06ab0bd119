//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Additional actions of the plain NIP-74 engine.
package enum NIP74Signal: Sendable {
    /// A client offers a session (exit). Accept the offer, or wait until the client sends plain data.
    case offered(SessionOffer)
    /// A client offers a session with a date that is not recent (exit).
    case outdated(SessionOffer)
    /// An entry asks the exit to connect to it (CONNECTR).
    case reverse(ReverseRequest)
    /// The exit sent data in plain NIP-74 (entry). The engine reports this once.
    case exitSentData
}

/// A client's request that the exit open a connection to the entry and use it for a stream (CONNECTR).
package struct ReverseRequest: Hashable, Sendable {
    /// The destination of the stream, as in CONNECT.
    package var destination: String
    /// Identifies the request, as for a CONNECT.
    package var connect: StreamRequest.Connect
    /// The entry's address as `HOST:PORT`, exactly as the entry sent it.
    package var address: String
}
