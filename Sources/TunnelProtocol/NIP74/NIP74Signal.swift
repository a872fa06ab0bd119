//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// What plain NIP-74 reports beyond the actions of every engine.
public enum NIP74Signal: Sendable {
    /// A client offers a session with this CONNECT (exit). Accept it, or wait for plain data.
    case offered(SessionOffer)
    /// A client asks the exit to connect to it (CONNECTR).
    case reverse(ReverseRequest)
    /// The exit sent data in plain NIP-74 (entry). Reported once.
    case exitSpoke
}

/// A CONNECTR: the stream is to be carried by a connection from the exit to the entry.
public struct ReverseRequest: Hashable, Sendable {
    /// As in CONNECT.
    public var destination: String
    public var connect: StreamRequest.Connect
    /// `HOST:PORT` of the entry, as the entry wrote it.
    public var address: String
}
