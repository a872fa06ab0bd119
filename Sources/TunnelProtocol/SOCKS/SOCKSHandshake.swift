//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// A SOCKS handshake, version 4 or 5. The first byte that a client sends selects the version.
package enum SOCKSHandshake: Sendable {
    /// SOCKS4 or SOCKS4a.
    case version4(SOCKS4HandshakeStateMachine)
    /// SOCKS5.
    case version5(SOCKS5HandshakeStateMachine)

    /// Creates a handshake.
    ///
    /// - Parameters:
    ///   - firstByte: The first byte that the client sent. Any value other than 4 selects SOCKS5, which rejects unknown
    ///     versions.
    ///   - credentials: The credentials that clients must present; nil to accept all clients.
    package init(firstByte: UInt8, credentials: ProxyCredentials?) {
        self =
            firstByte == 4
            ? .version4(SOCKS4HandshakeStateMachine(requiresCredentials: credentials != nil))
            : .version5(SOCKS5HandshakeStateMachine(credentials: credentials))
    }

    /// Processes bytes from the client.
    ///
    /// After ``SOCKSHandshakeAction/reply(_:)``, call this method again with an empty buffer, because the client may
    /// have sent more.
    package mutating func receive(_ bytes: ByteBuffer) -> SOCKSHandshakeAction {
        switch self {
        case .version4(var machine):
            defer { self = .version4(machine) }
            return machine.receive(bytes)
        case .version5(var machine):
            defer { self = .version5(machine) }
            return machine.receive(bytes)
        }
    }

    /// Removes and returns the bytes that followed the request.
    package mutating func takeLeftover() -> ByteBuffer {
        switch self {
        case .version4(var machine):
            defer { self = .version4(machine) }
            return machine.takeLeftover()
        case .version5(var machine):
            defer { self = .version5(machine) }
            return machine.takeLeftover()
        }
    }

    /// Encodes a reply in the version of the handshake.
    package func encoded(_ reply: SOCKS5Reply) -> [UInt8] {
        switch self {
        case .version4: SOCKS4HandshakeStateMachine.encoded(reply)
        case .version5: reply.encoded
        }
    }
}
