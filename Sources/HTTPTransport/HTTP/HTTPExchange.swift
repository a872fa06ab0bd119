//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
public import NIOHTTP1

/// A request as routes see it. Bodies are not read: nothing here takes any.
public struct HTTPRequest: Sendable {
    public let head: HTTPRequestHead
    public let remoteAddress: SocketAddress?

    public init(head: HTTPRequestHead, remoteAddress: SocketAddress?) {
        self.head = head
        self.remoteAddress = remoteAddress
    }

    /// The path without its query.
    public var path: String {
        String(self.head.uri.prefix { $0 != "?" })
    }
}

/// An answer.
public struct HTTPResponse: Sendable {
    public var status: HTTPResponseStatus
    public var headers: HTTPHeaders
    public var body: ByteBuffer

    /// When the server made it, by its own clock (RFC 9110, section 6.6.1), in seconds since 1970.
    public var date: Int64? {
        self.headers.first(name: "Date").flatMap(HTTPDate.seconds)
    }

    init(status: HTTPResponseStatus, headers: HTTPHeaders, body: ByteBuffer) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    public init(status: HTTPResponseStatus, contentType: String, body: ByteBuffer) {
        self.init(status: status, headers: ["Content-Type": contentType], body: body)
    }

    /// Plain text.
    public static func text(_ status: HTTPResponseStatus, _ text: String) -> HTTPResponse {
        HTTPResponse(status: status, contentType: "text/plain; charset=utf-8", body: ByteBuffer(string: text + "\n"))
    }
}
