//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import NIOHTTP1

/// An HTTP response with its complete body.
package struct HTTPResponse: Sendable {
    /// The status code.
    package var status: HTTPResponseStatus
    /// The header fields.
    package var headers: HTTPHeaders
    /// The complete body.
    package var body: ByteBuffer

    /// The time at which the server generated the response, in seconds since 1970 (RFC 9110, section 6.6.1).
    ///
    /// Nil if the Date header field is missing or malformed, or if the response comes from a cache (Age).
    package var date: Int64? {
        guard self.headers.first(name: "Age").map({ $0 == "0" }) ?? true else { return nil }
        return self.headers.first(name: "Date").flatMap(HTTPDate.seconds)
    }

    init(status: HTTPResponseStatus, headers: HTTPHeaders, body: ByteBuffer) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// Creates a response with a Content-Type header field.
    package init(status: HTTPResponseStatus, contentType: String, body: ByteBuffer) {
        self.init(status: status, headers: ["Content-Type": contentType], body: body)
    }

    /// Creates a plain-text response. A newline is appended to `text`.
    package static func text(_ status: HTTPResponseStatus, _ text: String) -> HTTPResponse {
        HTTPResponse(status: status, contentType: "text/plain; charset=utf-8", body: ByteBuffer(string: text + "\n"))
    }
}
