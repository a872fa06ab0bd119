//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
package import NIOCore
import NIOHTTP1
import NostrCrypto
package import TunnelProtocol

/// A request to the HTTP proxy.
package struct HTTPProxyRequest {
    /// The reason why a request cannot be served.
    package enum Failure: Error {
        case malformed(HTTPHead.Malformed)
        /// A version other than HTTP/1.
        case version
        /// A request for the proxy's own pages.
        case ownPath(String)
        /// A scheme other than http in absolute form.
        case scheme(String)
        case target
        /// A page of another site made the browser send the request.
        case crossSite
        /// The connection ended before the request.
        case truncated
    }

    /// A request that is forwarded in origin form.
    package struct Plain {
        /// The request line and header fields.
        package let head: ByteBuffer
        /// Nil if the request has no body.
        package let bodyLength: HTTPBodyLength?
        package let isHead: Bool
        /// Whether the request asks for a protocol upgrade (RFC 9110, section 7.8).
        package let isUpgrade: Bool
    }

    package let target: TargetAddress
    package let credentials: ProxyCredentials?
    /// Nil for CONNECT.
    package let plain: Plain?

    /// Whether a response to this request may have a body.
    package var allowsResponseBody: Bool { self.plain?.isHead != true }

    /// Whether both requests may use the same stream.
    package func sharesStream(with other: HTTPProxyRequest) -> Bool {
        self.target == other.target && self.credentials == other.credentials
    }

    package init(_ head: HTTPHead) throws(Failure) {
        let line = head.startLine.split(separator: 0x20, omittingEmptySubsequences: false)
        guard line.count == 3, HTTPHead.Field.isToken(line[0]), !line[1].isEmpty,
            line[2].count == 8, line[2].starts(with: "HTTP/".utf8)
        else { throw .malformed(.startLine) }
        guard line[2].starts(with: "HTTP/1.".utf8), let minor = line[2].last, (0x30...0x39).contains(minor) else {
            throw .version
        }
        let method = String(decoding: line[0], as: UTF8.self)
        let uri = line[1]
        self.credentials = Self.credentials(head.fields(named: "proxy-authorization").first?.text)
        if method == "CONNECT" {
            guard let (_, target) = Self.target(uri, defaultPort: nil) else { throw .target }
            self.target = target
            self.plain = nil
            return
        }
        if uri.first == UInt8(ascii: "/") || uri.elementsEqual("*".utf8) {
            throw .ownPath(String(decoding: uri.prefix { $0 != UInt8(ascii: "?") }, as: UTF8.self))
        }
        guard let separator = uri.firstRange(of: Array("://".utf8)) else { throw .target }
        let scheme = String(decoding: uri[..<separator.lowerBound], as: UTF8.self).lowercased()
        guard scheme == "http" else { throw .scheme(String(scheme.prefix(16))) }
        let rest = uri[separator.upperBound...]
        let end = rest.firstIndex { "/?#".utf8.contains($0) } ?? rest.endIndex
        // User information in the authority is dropped (RFC 9110, section 4.2.4).
        let authority = rest[..<end].split(separator: UInt8(ascii: "@"), omittingEmptySubsequences: false).last ?? []
        guard let (host, target) = Self.target(authority, defaultPort: 80) else { throw .target }
        guard !Self.isCrossSite(head, method: method, target: target) else { throw .crossSite }
        self.target = target
        let path = rest[end...].prefix { $0 != UInt8(ascii: "#") }
        // An OPTIONS request with an empty path is for the whole server (RFC 9112, section 3.2.4).
        let root = method == "OPTIONS" && path.isEmpty ? "*" : path.first == UInt8(ascii: "/") ? "" : "/"
        do {
            let isOld = minor == UInt8(ascii: "0")
            let bodyLength = try head.bodyLength(allowsChunked: !isOld)
            self.plain = Self.rewritten(
                head,
                line: Array(line[0]) + " \(root)".utf8 + path + " HTTP/1.\(isOld ? 0 : 1)\r\n".utf8,
                host: target.port == 80 ? host : "\(host):\(target.port)",
                bodyLength: bodyLength,
                isHead: method == "HEAD"
            )
        } catch {
            throw .malformed(error)
        }
    }

    /// Returns whether a page of another site made the browser send the request to an exit. The request would use the
    /// identity of the proxy's user. Following a link is not such a request.
    private static func isCrossSite(_ head: HTTPHead, method: String, target: TargetAddress) -> Bool {
        guard let site = Self.site(target) else { return false }
        // Browsers send Origin with every method other than GET and HEAD, with WebSocket handshakes, and if a script
        // wants to read the response. `null` stands for an origin that must not be known.
        let origins = head.fields(named: "origin")
        if let origin = origins.first {
            guard origins.count == 1, let separator = origin.value.firstRange(of: Array("://".utf8)),
                let (_, source) = Self.target(origin.value[separator.upperBound...], defaultPort: 80),
                Self.site(source) == site
            else { return true }
        }
        guard head.fields(named: "sec-fetch-site").contains(where: { $0.text.lowercased() == "cross-site" }) else {
            return false
        }
        let mode = head.fields(named: "sec-fetch-mode").first?.text.lowercased()
        return !(mode == "navigate" && ["GET", "HEAD"].contains(method))
    }

    /// The exit that a host names. Nil for a host on the internet, which requests reach without the user's identity.
    private static func site(_ target: TargetAddress) -> String? {
        guard case .domain(let name) = target.host, NostrName.looksLikeName(name) else { return nil }
        // One exit has several names.
        return (try? NostrName(name)).map(\.publicKey.hex) ?? name.lowercased()
    }

    /// Parses `host:port` or `[v6 address]:port`. Returns the host as it was written, and the target.
    private static func target(_ bytes: ArraySlice<UInt8>, defaultPort: UInt16?) -> (String, TargetAddress)? {
        guard let text = String(validating: bytes, as: UTF8.self)?[...] else { return nil }
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
        let written = String(host)
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard let port, !host.isEmpty, host.utf8.count <= 4_096 else { return nil }
        let address = try? SocketAddress(ipAddress: String(host), port: 0)
        let bytes = address?.addressBytes
        return (written, TargetAddress(host: bytes.map { .address($0) } ?? .domain(String(host)), port: port))
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

    /// Fields that apply to only one connection (RFC 9110, section 7.6.1), and fields that the proxy writes itself.
    private static let dropped: Set<String> = [
        "connection", "proxy-connection", "proxy-authorization", "keep-alive", "te", "upgrade", "host",
        "content-length",
        "transfer-encoding",
    ]

    private static func rewritten(
        _ head: HTTPHead,
        line: [UInt8],
        host: String,
        bodyLength: HTTPBodyLength?,
        isHead: Bool
    ) -> Plain {
        let connection = Set(head.list("connection") + head.list("proxy-connection"))
        // Upgrades to HTTP/2 over cleartext TCP are obsolete (RFC 9113, section 3.1). A request with a body is not
        // upgraded.
        let upgrades =
            connection.contains("upgrade") && bodyLength ?? .fixed(0) == .fixed(0)
            ? head.fields(named: "upgrade").map(\.text).filter { !$0.isEmpty && $0.lowercased() != "h2c" } : []
        var bytes = ByteBuffer(bytes: line)
        bytes.writeString("Host: \(host)\r\n")
        for field in head.fields {
            let name = field.name.lowercased()
            guard !Self.dropped.contains(name), !connection.contains(name) else { continue }
            bytes.writeString("\(field.name): ")
            bytes.writeBytes(field.value)
            bytes.writeString("\r\n")
        }
        switch bodyLength {
        case .fixed(let count)?: bytes.writeString("Content-Length: \(count)\r\n")
        case .chunked?: bytes.writeString("Transfer-Encoding: chunked\r\n")
        case .untilClose?, nil: break
        }
        let options = (upgrades.isEmpty ? [] : ["upgrade"]) + ["close", "keep-alive"].filter(connection.contains)
        if !options.isEmpty { bytes.writeString("Connection: \(options.joined(separator: ", "))\r\n") }
        for upgrade in upgrades { bytes.writeString("Upgrade: \(upgrade)\r\n") }
        bytes.writeString("\r\n")
        return Plain(head: bytes, bodyLength: bodyLength, isHead: isHead, isUpgrade: !upgrades.isEmpty)
    }
}

extension HTTPProxyRequest.Failure {
    /// The status of the proxy's response.
    var httpStatus: HTTPResponseStatus {
        switch self {
        case .malformed(.tooLarge): .requestHeaderFieldsTooLarge
        case .malformed(.transferCoding): .notImplemented
        case .version: .httpVersionNotSupported
        case .ownPath: .notFound
        case .crossSite: .forbidden
        case .malformed, .scheme, .target, .truncated: .badRequest
        }
    }

    var text: String {
        switch self {
        case .malformed(.startLine):
            "The first line is not that of an HTTP request: a method, a target and HTTP/1.1, with one space between them."
        case .malformed(.field): "A header field is malformed: it has no colon, is folded, or has a control character."
        case .malformed(.lineEnding): "A line does not end with CR LF."
        case .malformed(.tooLarge):
            "The header fields are too large: at most \(HTTPHeadReader.maximumLength >> 10) KiB in \(HTTPHeadReader.maximumFields) fields."
        case .malformed(.framing):
            "The length of the body is ambiguous: Content-Length is not a number, occurs twice or with Transfer-Encoding, or an HTTP/1.0 request has Transfer-Encoding."
        case .malformed(.transferCoding): "Transfer-Encoding is not chunked; this proxy supports no other coding."
        case .malformed(.chunk): "The body does not follow the chunked transfer coding."
        case .version: "This proxy supports only HTTP/1.1 and HTTP/1.0."
        case .ownPath: "Not found."
        case .scheme(let scheme): "\(scheme): requests cannot be forwarded in absolute form; use CONNECT."
        case .crossSite:
            "A page of another site sent this request, or a page that hides its origin (Referrer-Policy: no-referrer). This proxy forwards only requests of the service's own pages, and links to them."
        case .target: "The request contains no valid host and port to connect to."
        case .truncated: "The connection ended before the end of the request's header fields."
        }
    }
}
