//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// The client side of a SOCKS5 handshake, up to the reply to CONNECT (RFC 1928, RFC 1929).
///
/// It does no I/O: the caller passes in received bytes and sends the returned ones.
package struct SOCKS5ClientHandshake {
    private enum State {
        case choosing
        case authenticating
        case connecting
        case done
    }

    /// What the caller must do next.
    package enum Step {
        /// Wait for more bytes from the proxy.
        case wait
        /// Send these bytes to the proxy.
        case send(ByteBuffer)
        /// The proxy has connected to the target. All further bytes are exchanged with the target.
        case connected
    }

    private static let version: UInt8 = 5
    private static let noAuthentication: UInt8 = 0
    private static let password: UInt8 = 2
    private static let maximumLength = 255

    private let host: String
    private let port: Int
    private let isolation: [UInt8]
    private var state = State.choosing

    package init(host: String, port: Int, isolation: String) {
        self.host = host
        self.port = port
        self.isolation = Array(isolation.utf8.prefix(Self.maximumLength))
    }

    /// The first message from the client: the authentication methods that it offers.
    package var greeting: ByteBuffer {
        ByteBuffer(
            bytes: self.isolation.isEmpty
                ? [Self.version, 1, Self.noAuthentication] : [Self.version, 2, Self.noAuthentication, Self.password]
        )
    }

    /// Consumes at most one message of the proxy from the beginning of `buffer`.
    ///
    /// Call again after ``Step/send(_:)``: the buffer may contain the next message.
    package mutating func advance(_ buffer: inout ByteBuffer) throws(SOCKS5Proxy.Failure) -> Step {
        switch self.state {
        case .choosing:
            guard buffer.readableBytes >= 2, let bytes = buffer.readBytes(length: 2) else { return .wait }
            guard bytes[0] == Self.version else { throw .notSOCKS5 }
            switch bytes[1] {
            case Self.noAuthentication:
                self.state = .connecting
                return .send(try self.request)
            case Self.password where !self.isolation.isEmpty:
                self.state = .authenticating
                return .send(self.login)
            default:
                throw .noAcceptableMethod
            }
        case .authenticating:
            guard buffer.readableBytes >= 2, let bytes = buffer.readBytes(length: 2) else { return .wait }
            guard bytes[1] == 0 else { throw .credentialsRefused }
            self.state = .connecting
            return .send(try self.request)
        case .connecting:
            return try self.takeReply(&buffer) ? .connected : .wait
        case .done:
            return .connected
        }
    }

    private mutating func takeReply(_ buffer: inout ByteBuffer) throws(SOCKS5Proxy.Failure) -> Bool {
        let start = buffer.readerIndex
        guard let version = buffer.getInteger(at: start, as: UInt8.self),
            let code = buffer.getInteger(at: start + 1, as: UInt8.self)
        else { return false }
        guard version == Self.version else { throw .notSOCKS5 }
        guard code == 0 else { throw .refused(code) }
        guard let type = buffer.getInteger(at: start + 3, as: UInt8.self),
            let first = buffer.getInteger(at: start + 4, as: UInt8.self)
        else { return false }
        let addressLength: Int
        switch type {
        case 1: addressLength = 4
        case 3: addressLength = 1 + Int(first)
        case 4: addressLength = 16
        default: throw .notSOCKS5
        }
        let length = 4 + addressLength + 2
        guard buffer.readableBytes >= length else { return false }
        buffer.moveReaderIndex(forwardBy: length)
        self.state = .done
        return true
    }

    private var login: ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(UInt8(1))
        for _ in 0..<2 {
            buffer.writeInteger(UInt8(self.isolation.count))
            buffer.writeBytes(self.isolation)
        }
        return buffer
    }

    private var request: ByteBuffer {
        get throws(SOCKS5Proxy.Failure) {
            var buffer = ByteBuffer(bytes: [Self.version, 1, 0])
            if let bytes = (try? SocketAddress(ipAddress: self.host, port: 0))?.addressBytes {
                buffer.writeInteger(UInt8(bytes.count == 4 ? 1 : 4))
                buffer.writeBytes(bytes)
            } else {
                guard self.host.utf8.count <= Self.maximumLength else { throw .hostTooLong }
                buffer.writeInteger(UInt8(3))
                buffer.writeInteger(UInt8(self.host.utf8.count))
                buffer.writeString(self.host)
            }
            buffer.writeInteger(UInt16(truncatingIfNeeded: self.port))
            return buffer
        }
    }
}
