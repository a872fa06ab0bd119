//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import NIOPosix

extension ClientBootstrap {
    /// Connects to the first of several addresses that answers (Happy Eyeballs, RFC 8305).
    ///
    /// Attempts start one after the other: 250 ms after the previous one, or as soon as it has failed. IPv6 and IPv4
    /// addresses take turns. The bootstrap's connect timeout applies to all attempts together. A channel initializer
    /// runs for each attempt, so handlers that act must wait for ``ConnectedHandler``.
    ///
    /// - Parameters:
    ///   - addresses: At least one address.
    ///   - loop: The event loop with which the bootstrap was created.
    /// - Returns: The channel of the first connection. Fails with the error of the last attempt, or with
    ///   `ChannelError.connectTimeout`.
    package func connect(toFirstOf addresses: [SocketAddress], on loop: any EventLoop) -> EventLoopFuture<any Channel> {
        if addresses.count == 1, let address = addresses.first { return self.connect(to: address) }
        return self.resolver(KnownAddresses(addresses: addresses, loop: loop))
            .connect(host: "", port: 0)
            .flatMapErrorThrowing { error in
                throw (error as? NIOConnectionError)?.connectionErrors.last?.error ?? error
            }
    }
}

/// A resolver that returns addresses that were looked up, and checked, before.
private struct KnownAddresses: Resolver, Sendable {
    let addresses: [SocketAddress]
    let loop: any EventLoop

    func initiateAQuery(host: String, port: Int) -> EventLoopFuture<[SocketAddress]> {
        self.loop.makeSucceededFuture(self.addresses.filter { $0.protocol != .inet6 })
    }

    func initiateAAAAQuery(host: String, port: Int) -> EventLoopFuture<[SocketAddress]> {
        self.loop.makeSucceededFuture(self.addresses.filter { $0.protocol == .inet6 })
    }

    func cancelQueries() {}
}
