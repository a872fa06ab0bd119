//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// The handshake of whichever version of SOCKS the first byte names.
public enum SOCKSHandshake: Sendable {
    case version4(SOCKS4HandshakeStateMachine)
    case version5(SOCKS5HandshakeStateMachine)

    /// - Parameter firstByte: 4, or anything else for SOCKS5, which refuses what is neither.
    public init(firstByte: UInt8, credentials: ProxyCredentials?) {
        self =
            firstByte == 4
            ? .version4(SOCKS4HandshakeStateMachine(requiresCredentials: credentials != nil))
            : .version5(SOCKS5HandshakeStateMachine(credentials: credentials))
    }

    /// Takes bytes from the client. Call again with an empty buffer after a reply: more may be there.
    public mutating func receive(_ bytes: ByteBuffer) -> SOCKSHandshakeAction {
        switch self {
        case .version4(var machine):
            defer { self = .version4(machine) }
            return machine.receive(bytes)
        case .version5(var machine):
            defer { self = .version5(machine) }
            return machine.receive(bytes)
        }
    }

    /// What came behind the request.
    public mutating func takeLeftover() -> ByteBuffer {
        switch self {
        case .version4(var machine):
            defer { self = .version4(machine) }
            return machine.takeLeftover()
        case .version5(var machine):
            defer { self = .version5(machine) }
            return machine.takeLeftover()
        }
    }

    /// A reply's bytes.
    public func encoded(_ reply: SOCKS5Reply) -> [UInt8] {
        switch self {
        case .version4: SOCKS4HandshakeStateMachine.encoded(reply)
        case .version5: reply.encoded
        }
    }
}
