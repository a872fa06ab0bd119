//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A SOCKS5 proxy for outgoing connections (RFC 1928), Tor's for instance. It gets names as they are, so that nothing is
/// looked up here.
public struct SOCKS5Proxy: Hashable, Sendable {
    /// Name or address.
    public var host: String
    public var port: Int
    /// What is to be kept apart: connections with other values are not to be tied together. It goes as user and password
    /// (RFC 1929), by which Tor chooses circuits; a proxy that asks for none never sees it.
    public var isolation = ""

    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Why the proxy made no connection.
    public enum Failure: Error, Hashable, Sendable, CustomStringConvertible {
        /// What it said is no SOCKS5.
        case notSOCKS5
        /// It wants another way to log in than there is here.
        case noAcceptableMethod
        case credentialsRefused
        /// Its reply (RFC 1928, section 6).
        case refused(UInt8)
        case hostTooLong
        case closed

        public var description: String {
            switch self {
            case .notSOCKS5: "the proxy for relays (--relay-proxy) does not speak SOCKS5"
            case .noAcceptableMethod, .credentialsRefused: "the proxy for relays (--relay-proxy) lets nobody in"
            case .refused(let code): "the proxy for relays (--relay-proxy) answers: \(Self.text(of: code))"
            case .hostTooLong: "the relay's host is too long for SOCKS5"
            case .closed: "the proxy for relays (--relay-proxy) closed the connection"
            }
        }

        private static func text(of code: UInt8) -> String {
            switch code {
            case 1: "general failure"
            case 2: "not allowed"
            case 3: "network unreachable"
            case 4: "host unreachable"
            case 5: "connection refused"
            case 6: "timed out"
            case 7: "command not supported"
            case 8: "address type not supported"
            default: "error \(code)"
            }
        }
    }
}
