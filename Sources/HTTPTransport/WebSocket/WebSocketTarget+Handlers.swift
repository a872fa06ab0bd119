//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOSSL

extension WebSocketClient.Target {
    /// Adds what asks the proxy, if there is one.
    func addProxy(to operations: ChannelPipeline.SynchronousOperations) throws {
        guard let (proxy, port) = self.proxy else { return }
        try operations.addHandler(SOCKS5ClientHandler(proxy, host: self.host, port: port))
    }

    /// Adds TLS to a connection to the target, if it has any: verified, with the host's name as indication (SNI).
    func addTLS(to operations: ChannelPipeline.SynchronousOperations) throws {
        guard let context = self.tls else { return }
        let isAddress = (try? SocketAddress(ipAddress: self.host, port: 0)) != nil
        try operations.addHandler(
            NIOSSLClientHandler(context: context, serverHostname: isAddress ? nil : self.host)
        )
    }
}
