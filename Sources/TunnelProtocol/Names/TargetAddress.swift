//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The host and port that a client wants to connect to.
public struct TargetAddress: Hashable, Sendable {
    /// A host as in a SOCKS request: a domain name or an IP address.
    public enum Host: Hashable, Sendable {
        /// A domain name exactly as the client sent it.
        case domain(String)
        /// An IPv4 address (4 bytes) or IPv6 address (16 bytes) in network byte order.
        case address([UInt8])
    }

    /// The host.
    public let host: Host
    /// The TCP port.
    public let port: UInt16

    /// Creates an address.
    public init(host: Host, port: UInt16) {
        self.host = host
        self.port = port
    }
}

extension TargetAddress: CustomStringConvertible {
    public var description: String {
        Self.text(host: self.hostText, port: Int(self.port))
    }

    /// Formats `HOST:PORT`. A host that contains a colon, such as an IPv6 address, is enclosed in brackets.
    public static func text(host: String, port: Int) -> String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// Splits `HOST:PORT` into its parts and removes brackets around the host. Returns nil if `text` does not have this
    /// form, or if the port is 0.
    public static func parts(of text: String) -> (host: String, port: UInt16)? {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0 else {
            return nil
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        return host.isEmpty ? nil : (String(host), port)
    }

    /// The host as text: the domain name as the client sent it, or the IP address.
    public var hostText: String {
        switch self.host {
        case .domain(let name): return name
        case .address(let bytes) where bytes.count == 4:
            return bytes.map(String.init).joined(separator: ".")
        case .address(let bytes):
            let groups = stride(from: 0, to: bytes.count - 1, by: 2).map {
                String(UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]), radix: 16)
            }
            return groups.joined(separator: ":")
        }
    }
}
