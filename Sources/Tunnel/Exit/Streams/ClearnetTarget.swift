//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import TunnelProtocol

/// A target on the internet that a client requests from a public exit.
struct ClearnetTarget: Hashable, CustomStringConvertible {
    let host: String
    let port: UInt16

    /// Nil if the request is for one of the exit's own services.
    init?(_ request: StreamRequest) {
        let text = request.destination
        guard !text.isEmpty, !NostrName.looksLikeName(text) else { return nil }
        if let port = request.port {
            self.host = text
            self.port = port
            return
        }
        // In plain NIP-74 the destination contains the port.
        guard let (host, port) = TargetAddress.parts(of: text), !NostrName.looksLikeName(host) else { return nil }
        self.host = host
        self.port = port
    }

    var description: String { TargetAddress.text(host: self.host, port: Int(self.port)) }
}
