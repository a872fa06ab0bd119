//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto
import TunnelProtocol

/// Where a client of the entry wants to connect, and which requests it may share a session with.
struct ProxyRequest: Hashable {
    let target: TargetAddress
    /// Requests that differ in this share neither a session nor a connection to a relay. Empty for requests that do not
    /// ask for isolation.
    let isolation: [UInt8]
    /// Exits that were tried for a target on the internet.
    var triedExits: Set<PublicKey> = []

    /// - Parameter credentials: What the client gave to the proxy. Different credentials isolate.
    init(_ target: TargetAddress, credentials: ProxyCredentials?) {
        self.target = target
        guard let credentials else {
            self.isolation = []
            return
        }
        self.isolation = [UInt8(truncatingIfNeeded: credentials.user.count)] + credentials.user + credentials.password
    }

    /// Whether the target is not a `.nostr` name.
    var isClearnet: Bool {
        if case .domain(let name) = self.target.host { !NostrName.looksLikeName(name) } else { true }
    }

    /// The request as it is sent to the exit.
    var streamRequest: StreamRequest {
        StreamRequest(destination: self.target.hostText, port: self.target.port)
    }
}
