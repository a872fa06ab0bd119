//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// The server side of a SOCKS5 handshake: method selection, authentication and request (RFC 1928, RFC 1929).
///
/// The state machine performs no I/O. It accepts input in pieces of any size. Bytes that follow the request are kept
/// until ``takeLeftover()`` is called.
package struct SOCKS5HandshakeStateMachine: Sendable {
    private enum State: Hashable {
        /// Waiting for the version and the authentication methods.
        case greeting
        /// Waiting for the user name and password.
        case credentials
        /// Waiting for the request.
        case request
        /// The request was returned to the caller, or the handshake failed.
        case done
    }

    private let required: ProxyCredentials?
    private var state = State.greeting
    private var buffer = ByteBuffer()
    private var given: ProxyCredentials?

    /// Creates a state machine.
    ///
    /// - Parameter credentials: The credentials that clients must present. If nil, all clients are accepted, with any
    ///   credentials or none.
    package init(credentials: ProxyCredentials? = nil) {
        self.required = credentials
    }

    /// Removes and returns the bytes that followed the request.
    package mutating func takeLeftover() -> ByteBuffer {
        let rest = self.buffer
        self.buffer = ByteBuffer()
        return rest
    }

    /// Processes bytes from the client.
    ///
    /// After ``SOCKSHandshakeAction/reply(_:)``, call this method again with an empty buffer, because the client may
    /// have sent more.
    package mutating func receive(_ bytes: ByteBuffer) -> SOCKSHandshakeAction {
        self.buffer.writeImmutableBuffer(bytes)
        switch self.state {
        case .greeting: return self.readGreeting()
        case .credentials: return self.readCredentials()
        case .request: return self.readRequest()
        case .done: return .wait
        }
    }

    private mutating func fail(_ reply: [UInt8], _ failure: ProxyHandshakeFailure) -> SOCKSHandshakeAction {
        self.state = .done
        return .fail(reply, failure)
    }

    private mutating func readGreeting() -> SOCKSHandshakeAction {
        var peek = self.buffer
        guard let version = peek.readInteger(as: UInt8.self) else { return .wait }
        guard version == 5 else { return self.fail([], version == 4 ? .unsupportedVersion : .notSOCKS) }
        guard let count = peek.readInteger(as: UInt8.self), let methods = peek.readBytes(length: Int(count)) else {
            return .wait
        }
        self.buffer = peek
        // If credentials are optional, clients that offer them still send them: streams with different credentials are
        // isolated from each other.
        if self.required == nil, methods.contains(0), !methods.contains(2) {
            self.state = .request
            return .reply([5, 0])
        }
        guard methods.contains(2) else { return self.fail([5, 0xff], .noAcceptableMethod) }
        self.state = .credentials
        return .reply([5, 2])
    }

    private mutating func readCredentials() -> SOCKSHandshakeAction {
        var peek = self.buffer
        guard let version = peek.readInteger(as: UInt8.self) else { return .wait }
        guard version == 1 else { return self.fail([1, 1], .malformed) }
        guard let userLength = peek.readInteger(as: UInt8.self), let user = peek.readBytes(length: Int(userLength)),
            let passwordLength = peek.readInteger(as: UInt8.self),
            let password = peek.readBytes(length: Int(passwordLength))
        else { return .wait }
        self.buffer = peek
        let credentials = ProxyCredentials(user: user, password: password)
        if let required, !required.matches(credentials) { return self.fail([1, 1], .wrongCredentials) }
        self.given = credentials
        self.state = .request
        return .reply([1, 0])
    }

    private mutating func readRequest() -> SOCKSHandshakeAction {
        var peek = self.buffer
        guard let version = peek.readInteger(as: UInt8.self) else { return .wait }
        guard version == 5 else { return self.fail(SOCKS5Reply.generalFailure.encoded, .malformed) }
        guard let command = peek.readInteger(as: UInt8.self), peek.readInteger(as: UInt8.self) != nil,
            let type = peek.readInteger(as: UInt8.self)
        else { return .wait }
        let host: TargetAddress.Host
        switch type {
        case 1, 4:
            guard let address = peek.readBytes(length: type == 1 ? 4 : 16) else { return .wait }
            host = .address(address)
        case 3:
            guard let length = peek.readInteger(as: UInt8.self), let name = peek.readBytes(length: Int(length)) else {
                return .wait
            }
            guard !name.isEmpty, let text = String(validating: name, as: UTF8.self) else {
                return self.fail(SOCKS5Reply.generalFailure.encoded, .malformed)
            }
            host = .domain(text)
        default:
            return self.fail(SOCKS5Reply.addressTypeNotSupported.encoded, .unsupportedAddressType)
        }
        guard let port = peek.readInteger(as: UInt16.self) else { return .wait }
        self.buffer = peek
        guard command == 1 else { return self.fail(SOCKS5Reply.commandNotSupported.encoded, .unsupportedCommand) }
        self.state = .done
        return .connect(TargetAddress(host: host, port: port), self.given)
    }
}
