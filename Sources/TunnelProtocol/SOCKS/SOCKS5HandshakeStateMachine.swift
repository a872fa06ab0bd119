//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// The server's side of a SOCKS5 handshake: greeting, user and password, request (RFC 1928, RFC 1929).
///
/// Pure. Bytes go in as they come, in any portions; what the client sends behind its request stays in ``leftover``.
public struct SOCKS5HandshakeStateMachine: Sendable {
    /// A user and a password (RFC 1929).
    public struct Credentials: Hashable, Sendable {
        public let user: [UInt8]
        public let password: [UInt8]

        public init(user: [UInt8], password: [UInt8]) {
            self.user = user
            self.password = password
        }

        /// Compares in a time that does not tell where the difference is.
        public func matches(_ other: Credentials) -> Bool {
            func difference(_ left: [UInt8], _ right: [UInt8]) -> UInt8 {
                var difference: UInt8 = left.count == right.count ? 0 : 1
                for index in 0..<min(left.count, right.count) { difference |= left[index] ^ right[index] }
                return difference
            }
            return difference(self.user, other.user) | difference(self.password, other.password) == 0
        }
    }

    /// What to do after bytes came in.
    public enum Action: Hashable, Sendable {
        /// Nothing until more come.
        case wait
        /// Write these, go on.
        case reply([UInt8])
        /// The client asked for a connection. Answer with ``SOCKS5Reply/encoded``.
        case connect(TargetAddress, Credentials?)
        /// Write these, if any, and close.
        case fail([UInt8], Failure)
    }

    /// Why a handshake failed.
    public enum Failure: String, Error, Hashable, Sendable, CaseIterable {
        /// The first byte is not a version of SOCKS.
        case notSOCKS = "not_socks"
        /// SOCKS4.
        case unsupportedVersion = "unsupported_version"
        /// The client offers no method that we take.
        case noAcceptableMethod = "no_acceptable_method"
        case malformed
        case wrongCredentials = "wrong_credentials"
        /// BIND or UDP ASSOCIATE.
        case unsupportedCommand = "unsupported_command"
        case unsupportedAddressType = "unsupported_address_type"
    }

    private enum State: Hashable {
        /// Waiting for version and methods.
        case greeting
        /// Waiting for user and password.
        case credentials
        /// Waiting for the request.
        case request
        /// The request was handed on, or the handshake failed.
        case done
    }

    private let required: Credentials?
    private var state = State.greeting
    private var buffer = ByteBuffer()
    private var given: Credentials?

    /// - Parameter credentials: What clients must present; nil to let everyone in, with or without credentials.
    public init(credentials: Credentials? = nil) {
        self.required = credentials
    }

    /// What came behind the request.
    public mutating func takeLeftover() -> ByteBuffer {
        let rest = self.buffer
        self.buffer = ByteBuffer()
        return rest
    }

    /// Takes bytes from the client. Call again with an empty buffer after ``Action/reply(_:)``: more may be there.
    public mutating func receive(_ bytes: ByteBuffer) -> Action {
        self.buffer.writeImmutableBuffer(bytes)
        switch self.state {
        case .greeting: return self.readGreeting()
        case .credentials: return self.readCredentials()
        case .request: return self.readRequest()
        case .done: return .wait
        }
    }

    private mutating func fail(_ reply: [UInt8], _ failure: Failure) -> Action {
        self.state = .done
        return .fail(reply, failure)
    }

    private mutating func readGreeting() -> Action {
        var peek = self.buffer
        guard let version = peek.readInteger(as: UInt8.self) else { return .wait }
        guard version == 5 else { return self.fail([], version == 4 ? .unsupportedVersion : .notSOCKS) }
        guard let count = peek.readInteger(as: UInt8.self), let methods = peek.readBytes(length: Int(count)) else {
            return .wait
        }
        self.buffer = peek
        // Where credentials are not required they are still taken if the client prefers: they isolate streams.
        if self.required == nil, methods.contains(0) {
            self.state = .request
            return .reply([5, 0])
        }
        guard methods.contains(2) else { return self.fail([5, 0xff], .noAcceptableMethod) }
        self.state = .credentials
        return .reply([5, 2])
    }

    private mutating func readCredentials() -> Action {
        var peek = self.buffer
        guard let version = peek.readInteger(as: UInt8.self) else { return .wait }
        guard version == 1 else { return self.fail([1, 1], .malformed) }
        guard let userLength = peek.readInteger(as: UInt8.self), let user = peek.readBytes(length: Int(userLength)),
            let passwordLength = peek.readInteger(as: UInt8.self),
            let password = peek.readBytes(length: Int(passwordLength))
        else { return .wait }
        self.buffer = peek
        let credentials = Credentials(user: user, password: password)
        if let required, !required.matches(credentials) { return self.fail([1, 1], .wrongCredentials) }
        self.given = credentials
        self.state = .request
        return .reply([1, 0])
    }

    private mutating func readRequest() -> Action {
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
