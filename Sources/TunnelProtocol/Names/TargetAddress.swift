//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Where a client wants to go.
public struct TargetAddress: Hashable, Sendable {
    /// The kinds of host that SOCKS knows.
    public enum Host: Hashable, Sendable {
        /// A name, as the client wrote it.
        case domain(String)
        /// Four or sixteen bytes.
        case address([UInt8])
    }

    public let host: Host
    public let port: UInt16

    public init(host: Host, port: UInt16) {
        self.host = host
        self.port = port
    }
}

extension TargetAddress: CustomStringConvertible {
    public var description: String {
        Self.text(host: self.hostText, port: Int(self.port))
    }

    /// `HOST:PORT`, an IPv6 address in brackets.
    public static func text(host: String, port: Int) -> String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// The parts of `HOST:PORT` as others write it; nil if it is none.
    public static func parts(of text: String) -> (host: String, port: UInt16)? {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0 else {
            return nil
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        return host.isEmpty ? nil : (String(host), port)
    }

    /// The host alone: a name as the client wrote it, or an address.
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
