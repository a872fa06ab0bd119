//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import NIOHTTP1

/// An HTTP request as passed to a route. The request body is discarded.
package struct HTTPRequest: Sendable {
    /// Method, target, version and header fields.
    package let head: HTTPRequestHead
    /// The address of the TCP peer. For a WebSocket upgrade through a trusted proxy, the address of the client, because
    /// limits count connections by client. Other routes have no such limits.
    package let remoteAddress: SocketAddress?

    /// Creates a request.
    package init(head: HTTPRequestHead, remoteAddress: SocketAddress?) {
        self.head = head
        self.remoteAddress = remoteAddress
    }

    /// The path of the request target, without the query.
    package var path: String {
        String(self.head.uri.prefix { $0 != "?" })
    }
}
