//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
public import NIOHTTP1

/// An HTTP request as passed to a route. The request body is discarded.
public struct HTTPRequest: Sendable {
    /// Method, target, version and header fields.
    public let head: HTTPRequestHead
    /// The address of the TCP peer. For a WebSocket upgrade through a trusted proxy, the address of the client.
    public let remoteAddress: SocketAddress?

    /// Creates a request.
    public init(head: HTTPRequestHead, remoteAddress: SocketAddress?) {
        self.head = head
        self.remoteAddress = remoteAddress
    }

    /// The path of the request target, without the query.
    public var path: String {
        String(self.head.uri.prefix { $0 != "?" })
    }
}

/// An HTTP response with its complete body.
public struct HTTPResponse: Sendable {
    /// The status code.
    public var status: HTTPResponseStatus
    /// The header fields.
    public var headers: HTTPHeaders
    /// The complete body.
    public var body: ByteBuffer

    /// The time at which the server generated the response, in seconds since 1970 (RFC 9110, section 6.6.1).
    ///
    /// Nil if the Date header field is missing or malformed.
    public var date: Int64? {
        self.headers.first(name: "Date").flatMap(HTTPDate.seconds)
    }

    init(status: HTTPResponseStatus, headers: HTTPHeaders, body: ByteBuffer) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// Creates a response with a Content-Type header field.
    public init(status: HTTPResponseStatus, contentType: String, body: ByteBuffer) {
        self.init(status: status, headers: ["Content-Type": contentType], body: body)
    }

    /// Creates a plain-text response. A newline is appended to `text`.
    public static func text(_ status: HTTPResponseStatus, _ text: String) -> HTTPResponse {
        HTTPResponse(status: status, contentType: "text/plain; charset=utf-8", body: ByteBuffer(string: text + "\n"))
    }
}
