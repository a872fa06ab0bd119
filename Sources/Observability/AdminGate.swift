//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NIOHTTP1

/// Who may see a node's pages: whoever has the token, and without one whoever is on this machine and was not sent by another
/// site's page.
struct AdminGate {
    let token: String?

    /// Why a request is not served; nil if it is.
    func refusal(of head: HTTPRequestHead) -> HTTPResponse? {
        // Which of several is meant, servers and whoever stands before them may see differently (RFC 9112, section 3.2).
        guard head.headers["Host"].count <= 1 else { return .text(.badRequest, "More than one Host.") }
        // A page of another site can make a browser ask, under a name that it made point here.
        if let origin = head.headers.first(name: "Origin"), !Self.isSame(origin, head.headers.first(name: "Host")) {
            return .text(.forbidden, "Requests from other sites are not answered.")
        }
        guard let token else {
            guard let host = head.headers.first(name: "Host"), Self.isLoopback(host) else {
                return .text(.forbidden, "Ask by the address 127.0.0.1, [::1] or localhost.")
            }
            return nil
        }
        guard let given = Self.token(of: head), Self.matches(given, token) else {
            var response = HTTPResponse.text(
                .unauthorized,
                "A token is needed: Authorization: Bearer TOKEN, or ?token=TOKEN."
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

    /// In a time that does not tell where the difference is.
    private static func matches(_ left: String, _ right: String) -> Bool {
        let (left, right) = (Array(left.utf8), Array(right.utf8))
        guard left.count == right.count else { return false }
        return zip(left, right).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
    }
}
