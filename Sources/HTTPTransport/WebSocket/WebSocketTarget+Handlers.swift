//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOSSL

extension WebSocketClient.Target {
    /// Adds the SOCKS5 handler if the target uses a proxy.
    func addProxy(to operations: ChannelPipeline.SynchronousOperations) throws {
        guard let (proxy, port) = self.proxy else { return }
        try operations.addHandler(SOCKS5ClientHandler(proxy, host: self.host, port: port))
    }

    /// Adds the TLS handler if the target uses TLS.
    ///
    /// It sends the host as server name indication (SNI), unless the host is an IP address.
    func addTLS(to operations: ChannelPipeline.SynchronousOperations) throws {
        guard let context = self.tls else { return }
        let isAddress = (try? SocketAddress(ipAddress: self.host, port: 0)) != nil
        try operations.addHandler(
            NIOSSLClientHandler(context: context, serverHostname: isAddress ? nil : self.host)
        )
    }
}
