//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import TunnelProtocol

/// A request and its response, and how far both were forwarded.
struct ProxiedExchange {
    let isHead: Bool
    /// Whether it is the first request of its stream.
    let isFirst: Bool
    /// Whether the whole request was forwarded.
    var isRequestComplete = false
    var response: HTTPResponseFramer

    init(_ plain: HTTPProxyRequest.Plain, isFirst: Bool) {
        self.isHead = plain.isHead
        self.isFirst = isFirst
        self.response = HTTPResponseFramer(isHead: plain.isHead, allowsUpgrade: plain.isUpgrade)
    }

    /// Whether the connection can be used for another request.
    var isComplete: Bool { self.isRequestComplete && self.response.isComplete }

    /// Whether the client and the service use another protocol from now on.
    var isUpgraded: Bool { self.isRequestComplete && self.response.isUpgraded }
}
