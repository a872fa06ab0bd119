//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NIOHTTP1
import TunnelProtocol

/// A response of the HTTP proxy itself, after which the connection closes.
struct ProxyResponse {
    let status: HTTPResponseStatus
    private let fields: [(String, String)]
    private let body: String

    private init(_ status: HTTPResponseStatus, type: String = "text/html; charset=utf-8", _ body: String) {
        self.status = status
        self.fields =
            status == .proxyAuthenticationRequired
            ? [("Content-Type", type), ("Proxy-Authenticate", "Basic realm=\"nws\"")] : [("Content-Type", type)]
        self.body = body
    }

    /// A page with a message.
    init(_ status: HTTPResponseStatus, text: String) {
        self.init(status, FailurePage.html(status: status, text: text))
    }

    /// The page for a request whose stream failed or could not be opened.
    init(_ failure: ProxyFailure, target: TargetAddress, remedyText: (Remedy) -> String) {
        self.init(failure.httpStatus, FailurePage.html(failure, target: target, remedyText: remedyText))
    }

    /// A page of the proxy: the proxy auto-configuration script, or a description of the proxy.
    ///
    /// - Parameter page: The description.
    init(ownPath path: String, page: EntryHomePage) {
        guard path != "/proxy.pac" else {
            self.init(
                .ok,
                type: "application/x-ns-proxy-autoconfig",
                ProxyAutoConfiguration.script(proxy: page.address)
            )
            return
        }
        self.init(path == "/" || path == "*" ? .ok : .notFound, page.html)
    }

    /// The bytes of the response.
    ///
    /// - Parameter hasBody: False for the response to HEAD.
    func encoded(hasBody: Bool) -> ByteBuffer {
        let fields =
            self.fields + [
                ("Content-Length", "\(self.body.utf8.count)"), ("Connection", "close"), ("Cache-Control", "no-store"),
                ("Content-Security-Policy", "sandbox allow-downloads; default-src 'none'; style-src 'unsafe-inline'"),
            ]
        let lines = ["HTTP/1.1 \(self.status.code) \(self.status.reasonPhrase)"] + fields.map { "\($0): \($1)" }
        return ByteBuffer(string: lines.joined(separator: "\r\n") + "\r\n\r\n" + (hasBody ? self.body : ""))
    }
}

extension ProxyFailure {
    /// The status of the proxy's response.
    var httpStatus: HTTPResponseStatus {
        switch self.reply {
        case .notAllowed: return .forbidden
        case .timedOut: return .gatewayTimeout
        default: break
        }
        // The exit did not answer.
        if case .ended(.exitSilent) = self { return .gatewayTimeout }
        return .badGateway
    }
}
