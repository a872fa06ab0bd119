//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// The server side of a SOCKS4 or SOCKS4a handshake.
///
/// The handshake is a single request. In SOCKS4a, the address 0.0.0.x (x is not 0) means that a domain name follows.
/// The state machine performs no I/O. Bytes that follow the request are kept until ``takeLeftover()`` is called.
package struct SOCKS4HandshakeStateMachine: Sendable {
    /// Maximum length of the user ID and of the domain name in bytes.
    private static let maximumTextLength = 255

    private var buffer = ByteBuffer()
    private var isDone = false
    private let requiresCredentials: Bool

    /// Creates a state machine.
    ///
    /// - Parameter requiresCredentials: Whether the proxy requires credentials. All requests then fail, because SOCKS4
    ///   has no passwords.
    package init(requiresCredentials: Bool = false) {
        self.requiresCredentials = requiresCredentials
    }

    /// Removes and returns the bytes that followed the request.
    package mutating func takeLeftover() -> ByteBuffer {
        let rest = self.buffer
        self.buffer = ByteBuffer()
        return rest
    }

    /// Encodes the reply to a request. SOCKS4 has only two replies: granted (0x5a) and rejected (0x5b).
    package static func encoded(_ reply: SOCKS5Reply) -> [UInt8] {
        [0, reply == .succeeded ? 0x5a : 0x5b, 0, 0, 0, 0, 0, 0]
    }

    private static let rejected = encoded(.generalFailure)

    /// Processes bytes from the client.
    package mutating func receive(_ bytes: ByteBuffer) -> SOCKSHandshakeAction {
        self.buffer.writeImmutableBuffer(bytes)
        guard !self.isDone else { return .wait }
        var peek = self.buffer
        guard let version = peek.readInteger(as: UInt8.self) else { return .wait }
        guard version == 4 else { return self.fail(.notSOCKS) }
        guard let command = peek.readInteger(as: UInt8.self), let port = peek.readInteger(as: UInt16.self),
            let address = peek.readBytes(length: 4)
        else { return .wait }
        guard let user = Self.readText(&peek) else {
            return peek.readableBytes > Self.maximumTextLength ? self.fail(.malformed) : .wait
        }
        let host: TargetAddress.Host
        if address[..<3] == [0, 0, 0], address[3] != 0 {
            guard let name = Self.readText(&peek) else {
                return peek.readableBytes > Self.maximumTextLength ? self.fail(.malformed) : .wait
            }
            guard !name.isEmpty, let text = String(validating: name, as: UTF8.self) else {
                return self.fail(.malformed)
            }
            host = .domain(text)
        } else {
            host = .address(address)
        }
        self.buffer = peek
        guard command == 1 else { return self.fail(.unsupportedCommand) }
        guard !self.requiresCredentials else { return self.fail(.wrongCredentials) }
        self.isDone = true
        let credentials =
            user.isEmpty ? nil : ProxyCredentials(user: user, password: [])
        return .connect(TargetAddress(host: host, port: port), credentials)
    }

    private mutating func fail(_ failure: ProxyHandshakeFailure) -> SOCKSHandshakeAction {
        self.isDone = true
        return .fail(Self.rejected, failure)
    }

    /// Reads text up to a zero byte. Returns nil if there is no zero byte within ``maximumTextLength`` bytes.
    private static func readText(_ buffer: inout ByteBuffer) -> [UInt8]? {
        guard let end = buffer.readableBytesView.prefix(Self.maximumTextLength + 1).firstIndex(of: 0) else {
            return nil
        }
        let text = buffer.readBytes(length: end - buffer.readerIndex)
        buffer.moveReaderIndex(forwardBy: 1)
        return text
    }
}
