//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NIOHTTP1

/// Access control for the admin pages. The server does not ask it about health checks, the style sheet and the script.
///
/// With a token, a request must carry it. Without a token, the server listens only on loopback addresses, and requests
/// must name a loopback host. Cross-origin requests are rejected.
struct AdminGate {
    let token: String?

    /// Returns the response that rejects a request; nil if the request is allowed.
    func refusal(of head: HTTPRequestHead) -> HTTPResponse? {
        // With several Host fields, a proxy and this server could use different ones (RFC 9112, section 3.2).
        guard head.headers["Host"].count <= 1 else { return .text(.badRequest, "More than one Host header.") }
        // A page of another site can make a browser send requests here.
        if let origin = head.headers.first(name: "Origin"), !Self.isSame(origin, head.headers.first(name: "Host")) {
            return .text(.forbidden, "Cross-origin requests are not allowed.")
        }
        guard let token else {
            // Prevents DNS rebinding, where another site's name resolves to this machine.
            guard let host = head.headers.first(name: "Host"), Self.isLoopback(host) else {
                return .text(.forbidden, "Use 127.0.0.1, [::1] or localhost as the host in the URL.")
            }
            return nil
        }
        guard let given = Self.token(of: head), Self.matches(given, token) else {
            var response = HTTPResponse.text(
                .unauthorized,
                "Token required: send \"Authorization: Bearer TOKEN\", or add ?token=TOKEN to the URL."
            )
            response.headers.add(name: "WWW-Authenticate", value: "Bearer")
            return response
        }
        return nil
    }

    private static func isSame(_ origin: String, _ host: String?) -> Bool {
        guard let host else { return false }
        return origin == "http://\(host)" || origin == "https://\(host)"
    }

    private static func isLoopback(_ host: String) -> Bool {
        let name: Substring
        if host.hasPrefix("["), let end = host.firstIndex(of: "]") {
            name = host[host.index(after: host.startIndex)..<end]
        } else {
            name = host.prefix { $0 != ":" }
        }
        if name.lowercased() == "localhost" { return true }
        guard let address = try? SocketAddress(ipAddress: String(name), port: 0) else { return false }
        return AddressClass(address) == .loopback
    }

    private static func token(of head: HTTPRequestHead) -> String? {
        if let field = head.headers.first(name: "Authorization"), field.lowercased().hasPrefix("bearer ") {
            return String(field.dropFirst("bearer ".count))
        }
        guard let query = head.uri.split(separator: "?", maxSplits: 1).dropFirst().first else { return nil }
        return query.split(separator: "&").first { $0.hasPrefix("token=") }.map { String($0.dropFirst("token=".count)) }
    }

    /// Whether two tokens are equal. The time does not depend on where tokens of equal length differ.
    private static func matches(_ left: String, _ right: String) -> Bool {
        let (left, right) = (Array(left.utf8), Array(right.utf8))
        guard left.count == right.count else { return false }
        return zip(left, right).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
    }
}
