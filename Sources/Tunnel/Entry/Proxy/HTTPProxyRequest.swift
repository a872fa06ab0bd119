//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
package import NIOCore
package import NIOHTTP1
import NostrCrypto
package import TunnelProtocol

/// A request to the HTTP proxy.
package struct HTTPProxyRequest {
    /// Why a request cannot be served.
    package enum Failure: Error {
        /// A request for the proxy's own pages.
        case ownPath(String)
        /// A scheme other than http in absolute form.
        case scheme(String)
        case malformedTarget

        var text: String {
            switch self {
            case .ownPath: "Not found."
            case .scheme(let scheme): "\(scheme): requests cannot be forwarded in absolute form; use CONNECT."
            case .malformedTarget: "The request names no host and port to connect to."
            }
        }
    }

    /// A request that is forwarded in origin form.
    package struct Plain {
        /// Request line and fields.
        package let head: ByteBuffer
        package let isChunked: Bool
        /// Whether the request asks for another protocol (RFC 9110, section 7.8).
        package let isUpgrade: Bool

        /// Bytes of the body as they are forwarded.
        package func encoded(_ bytes: ByteBuffer) -> ByteBuffer {
            guard self.isChunked, bytes.readableBytes > 0 else { return bytes }
            var chunk = ByteBuffer(string: String(bytes.readableBytes, radix: 16) + "\r\n")
            chunk.writeImmutableBuffer(bytes)
            chunk.writeString("\r\n")
            return chunk
        }

        /// The end of the body; empty if its length is known.
        package var encodedEnd: ByteBuffer { self.isChunked ? ByteBuffer(string: "0\r\n\r\n") : ByteBuffer() }
    }

    package let target: TargetAddress
    package let credentials: ProxyCredentials?
    /// Nil for CONNECT.
    package let plain: Plain?

    package init(_ head: HTTPRequestHead) throws(Failure) {
        self.credentials = Self.credentials(head.headers.first(name: "Proxy-Authorization"))
        if head.method == .CONNECT {
            guard let target = Self.target(head.uri[...], defaultPort: nil) else { throw .malformedTarget }
            self.target = target
            self.plain = nil
            return
        }
        if head.uri.hasPrefix("/") || head.uri == "*" { throw .ownPath(head.uri) }
        guard let separator = head.uri.firstRange(of: "://") else { throw .malformedTarget }
        let scheme = head.uri[..<separator.lowerBound].lowercased()
        guard scheme == "http" else { throw .scheme(String(scheme.prefix(16))) }
        let rest = head.uri[separator.upperBound...]
        let end = rest.firstIndex { "/?#".contains($0) } ?? rest.endIndex
        // User information in the authority is dropped (RFC 9110, section 4.2.4).
        let authority = rest[..<end].split(separator: "@", omittingEmptySubsequences: false).last ?? ""
        guard let target = Self.target(authority, defaultPort: 80) else { throw .malformedTarget }
        self.target = target
        let path = rest[end...].prefix { $0 != "#" }
        self.plain = Self.rewritten(
            head,
            authority: String(authority),
            path: path.hasPrefix("/") ? String(path) : "/\(path)"
        )
    }

    /// `host:port`, `[v6 address]:port`.
    private static func target(_ text: Substring, defaultPort: UInt16?) -> TargetAddress? {
        var host = text
        var port = defaultPort
        let closing = text.lastIndex(of: "]")
        if let colon = text.lastIndex(of: ":"), closing.map({ $0 < colon }) ?? true {
            host = text[..<colon]
            let digits = text[text.index(after: colon)...]
            if !digits.isEmpty {
                guard let number = UInt16(digits), number > 0 else { return nil }
                port = number
            }
        }
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard let port, !host.isEmpty, host.utf8.count <= 4_096 else { return nil }
        let address = try? SocketAddress(ipAddress: String(host), port: 0)
        return TargetAddress(host: address?.addressBytes.map { .address($0) } ?? .domain(String(host)), port: port)
    }

    /// `Basic` credentials (RFC 7617).
    private static func credentials(_ field: String?) -> ProxyCredentials? {
        guard let field, field.lowercased().hasPrefix("basic "),
            let decoded = Base64.decode(Array(field.dropFirst(6).filter { $0 != " " }.utf8)),
            let colon = decoded.firstIndex(of: UInt8(ascii: ":"))
        else { return nil }
        return ProxyCredentials(
            user: Array(decoded[..<colon]),
            password: Array(decoded[(colon + 1)...])
        )
    }

    /// Fields that concern only one connection (RFC 9110, section 7.6.1).
    private static let hopByHop: Set<String> = [
        "connection", "proxy-connection", "proxy-authorization", "keep-alive", "te", "trailer", "upgrade", "host",
    ]

    private static let framing: Set<String> = ["content-length", "transfer-encoding"]

    private static func rewritten(_ head: HTTPRequestHead, authority: String, path: String) -> Plain {
        let connection = Set(
            (head.headers[canonicalForm: "Connection"] + head.headers[canonicalForm: "Proxy-Connection"])
                .map { $0.lowercased() }
        )
        let upgrades = head.headers[canonicalForm: "Upgrade"]
        let isUpgrade = connection.contains("upgrade") && !upgrades.isEmpty
        let version = head.version == .http1_0 ? "HTTP/1.0" : "HTTP/1.1"
        var lines = ["\(head.method.rawValue) \(path) \(version)", "Host: \(authority)"]
        for (name, value) in head.headers {
            let lowered = name.lowercased()
            // A client cannot remove the fields that frame its body by naming them in Connection.
            guard !Self.hopByHop.contains(lowered), !connection.contains(lowered) || Self.framing.contains(lowered)
            else { continue }
            lines.append("\(name): \(value)")
        }
        let options = (isUpgrade ? ["upgrade"] : []) + ["close", "keep-alive"].filter(connection.contains)
        if !options.isEmpty { lines.append("Connection: \(options.joined(separator: ", "))") }
        if isUpgrade { lines += upgrades.map { "Upgrade: \($0)" } }
        return Plain(
            head: ByteBuffer(string: lines.joined(separator: "\r\n") + "\r\n\r\n"),
            isChunked: head.headers[canonicalForm: "Transfer-Encoding"].contains { $0.lowercased() == "chunked" },
            isUpgrade: isUpgrade
        )
    }
}

extension ProxyFailure {
    /// Whether the exit did not answer.
    private var isSilence: Bool {
        if case .ended(.exitSilent) = self { true } else { false }
    }

    /// The status of the proxy's response.
    var httpStatus: HTTPResponseStatus {
        switch self.reply {
        case .notAllowed: .forbidden
        case .timedOut: .gatewayTimeout
        default: self.isSilence ? .gatewayTimeout : .badGateway
        }
    }
}
