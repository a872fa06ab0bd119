//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A SOCKS5 proxy for outgoing connections (RFC 1928), for example Tor.
///
/// Host names are sent to the proxy and not resolved locally.
public struct SOCKS5Proxy: Hashable, Sendable {
    /// Host name or IP address of the proxy.
    public var host: String
    /// TCP port of the proxy.
    public var port: Int
    /// Isolation key: connections with different keys should not be linkable to each other.
    ///
    /// It is sent as user name and as password (RFC 1929), truncated to 255 bytes. Tor uses separate circuits for
    /// different values. If the key is empty, or the proxy does not require a password, nothing is sent.
    public var isolation = ""

    /// Creates a proxy without an isolation key.
    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Why a connection through the proxy failed.
    public enum Failure: Error, Hashable, Sendable, CustomStringConvertible {
        /// The proxy sent something that is not SOCKS5.
        case notSOCKS5
        /// The proxy requires an authentication method that was not offered.
        case noAcceptableMethod
        /// The proxy rejected the user name and password.
        case credentialsRefused
        /// The proxy rejected the CONNECT request. The value is the reply code (RFC 1928, section 6).
        case refused(UInt8)
        /// The host name of the target is longer than 255 bytes.
        case hostTooLong
        /// The proxy closed the connection during the handshake.
        case closed

        /// An error message.
        public var description: String {
            switch self {
            case .notSOCKS5: "the proxy did not answer with SOCKS5; check its address and port"
            case .noAcceptableMethod: "the SOCKS5 proxy requires an authentication method that is not supported"
            case .credentialsRefused: "the SOCKS5 proxy rejected the user name and password"
            case .refused(let code): "the SOCKS5 proxy could not connect to the target: \(Self.text(of: code))"
            case .hostTooLong: "the host name is too long for SOCKS5 (255 bytes)"
            case .closed: "the SOCKS5 proxy closed the connection during the handshake"
            }
        }

        private static func text(of code: UInt8) -> String {
            switch code {
            case 1: "general failure"
            case 2: "not allowed by the proxy's rules"
            case 3: "network unreachable"
            case 4: "host unreachable"
            case 5: "connection refused"
            case 6: "TTL expired"
            case 7: "command not supported"
            case 8: "address type not supported"
            default: "error \(code)"
            }
        }
    }
}
