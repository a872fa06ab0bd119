//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NIOPosix
import TunnelProtocol

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Connects to the service behind an exit.
struct BackendDialer {
    let resolver = HostResolver()
    let timeout: TimeAmount
    let loop: any EventLoop

    /// Connects, trying each address; `splice` is in the pipeline before the first byte.
    func dial(
        _ backend: ExitConfiguration.Backend,
        splice: NIOLoopBound<SpliceHandler>
    ) -> EventLoopFuture<any Channel> {
        let loop = self.loop
        let timeout = self.timeout
        @Sendable func connect(_ address: SocketAddress) -> EventLoopFuture<any Channel> {
            ClientBootstrap(group: loop)
                .connectTimeout(timeout)
                .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .channelOption(.allowRemoteHalfClosure, value: true)
                .channelOption(.autoRead, value: false)
                .channelOption(.maxMessagesPerRead, value: 1)
                .connect(to: address)
        }
        return self.resolver.resolve(host: backend.host, port: backend.port, on: loop).flatMap { addresses in
            var attempt: EventLoopFuture<any Channel> = loop.makeFailedFuture(ChannelError.unknownLocalAddress)
            for address in addresses {
                attempt = attempt.flatMapError { error in
                    // Nobody waits any more for the other addresses.
                    splice.value.isOver ? loop.makeFailedFuture(error) : connect(address)
                }
            }
            return attempt
        }.flatMapThrowing { channel in
            try channel.pipeline.syncOperations.addHandler(splice.value)
            return channel
        }
    }

    /// What a failed dial means to the client.
    static func end(for error: any Error) -> StreamEnd {
        switch error {
        case let error as IOError where error.errnoCode == ECONNREFUSED: .refused
        case let error as IOError where error.errnoCode == ETIMEDOUT: .timedOut
        case ChannelError.connectTimeout: .timedOut
        default: .unreachable
        }
    }
}
