//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto
import TunnelProtocol

/// The target that a client of the entry requests, and its isolation from other requests.
struct ProxyRequest: Hashable {
    let target: TargetAddress
    /// Requests with different values share neither a session nor a relay connection. Empty for requests without
    /// isolation.
    let isolation: [UInt8]
    /// Exits that were tried for a target on the internet.
    var triedExits: Set<PublicKey> = []

    /// - Parameter credentials: The credentials that the client sent to the proxy. Requests with different credentials
    ///   are isolated from each other.
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
        // An alias means nothing to the exit, and says what the user calls it.
        if case .domain(let domain) = self.target.host, Alias(domain: domain) != nil {
            return StreamRequest(destination: "", port: self.target.port)
        }
        return StreamRequest(destination: self.target.hostText, port: self.target.port)
    }
}
