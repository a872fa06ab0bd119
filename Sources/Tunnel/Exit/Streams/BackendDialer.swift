//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NIOPosix
import NostrClient
import TunnelProtocol

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Connects to services, to targets on the internet, and to entries that request it (CONNECTR).
struct BackendDialer {
    let timeout: TimeAmount
    let loop: any EventLoop
    /// Addresses to which no client may make the exit connect: the packets would not pass the machine's firewall.
    private let own: NIOLoopBoundBox<OwnAddresses>

    init(timeout: TimeAmount, own: OwnAddresses = OwnAddresses(), loop: any EventLoop) {
        self.timeout = timeout
        self.loop = loop
        self.own = NIOLoopBoundBox(own, eventLoop: loop)
    }

    /// Connects to a service. `splice` is added to the pipeline before the first byte is read.
    ///
    /// - Parameter header: What is written before the bytes of the stream.
    func connect(
        to backend: Backend,
        tls: TLSTerminator? = nil,
        header: ByteBuffer? = nil,
        splice: NIOLoopBound<SpliceHandler>
    ) -> EventLoopFuture<any Channel> {
        let loop = self.loop
        let addresses: EventLoopFuture<[SocketAddress]>
        switch backend {
        case .tcp(let host, let port): addresses = HostResolver.own.resolve(host: host, port: port, on: loop)
        case .unix(let path):
            addresses = loop.submit { [try SocketAddress(unixDomainSocketPath: path)] }
        // A service in the program's own code has no address.
        case .local: addresses = loop.makeFailedFuture(ChannelError.unknownLocalAddress)
        }
        return addresses.flatMap { self.connect(to: $0, tls: tls, header: header, splice: splice) }
    }

    /// Connects to the first address that answers, and adds `splice` to the pipeline before the first byte is read.
    private func connect(
        to addresses: [SocketAddress],
        tls: TLSTerminator?,
        header: ByteBuffer?,
        splice: NIOLoopBound<SpliceHandler>
    ) -> EventLoopFuture<any Channel> {
        self.connect(to: addresses) { splice.value.isOver }.flatMap { channel in
            // If writing fails, the connection is broken, which the stream notices.
            if let header { channel.writeAndFlush(header, promise: nil) }
            return tls?.wrap(channel, on: channel.eventLoop) ?? channel.eventLoop.makeSucceededFuture(channel)
        }.flatMapThrowing { channel in
            try channel.pipeline.syncOperations.addHandler(splice.value)
            return channel
        }
    }

    /// Connects to the first address that answers (RFC 8305), unless the stream has ended.
    private func connect(
        to addresses: [SocketAddress],
        isOver: @escaping @Sendable () -> Bool
    ) -> EventLoopFuture<any Channel> {
        guard let first = addresses.first, !isOver() else {
            return self.loop.makeFailedFuture(ChannelError.unknownLocalAddress)
        }
        let bootstrap = ClientBootstrap(group: self.loop)
            .connectTimeout(self.timeout)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .channelOption(.autoRead, value: false)
            .channelOption(.maxMessagesPerRead, value: 1)
        guard first.protocol != .unix else { return bootstrap.connect(to: first) }
        return bootstrap.channelOption(.tcpOption(.tcp_nodelay), value: 1).connect(toFirstOf: addresses, on: self.loop)
    }

    /// Connects to an entry that requested it (CONNECTR). The client chose the address, so `policy` must allow it.
    ///
    /// - Parameter client: The client, which has a share of the lookups.
    func connectToEntry(
        host: String,
        port: Int,
        policy: DialPolicy,
        client: LookupClient,
        handler: NIOLoopBound<ReverseStream>
    ) -> EventLoopFuture<any Channel> {
        guard HostName.isValid(host) else { return self.loop.makeFailedFuture(PolicyError()) }
        let own = self.own
        return HostResolver.others.resolve(host: host, port: port, for: client, on: self.loop).flatMapThrowing {
            addresses in
            let allowed = addresses.filter { address in
                policy.allows(address)
                    && (AddressClass(address) != .global || !own.value.contains(address, at: .now()))
            }
            guard !allowed.isEmpty else { throw PolicyError() }
            return allowed
        }.flatMap { self.connect(to: $0) { false } }.flatMapThrowing { channel in
            try channel.syncOptions?.setOption(.socketOption(.so_keepalive), value: 1)
            try channel.pipeline.syncOperations.addHandler(handler.value)
            return channel
        }
    }

    /// Connects to a target on the internet. Its name is resolved once, and every address is checked against the policy.
    /// Public addresses of this machine are not allowed.
    ///
    /// - Parameter client: The client, which has a share of the lookups.
    func connect(
        to target: ClearnetTarget,
        policy: ExitPolicy,
        client: LookupClient,
        splice: NIOLoopBound<SpliceHandler>
    ) -> EventLoopFuture<any Channel> {
        let loop = self.loop
        guard HostName.isValid(target.host), !policy.forbids(host: target.host, port: target.port) else {
            return loop.makeFailedFuture(PolicyError())
        }
        let own = self.own
        return HostResolver.others.resolve(host: target.host, port: Int(target.port), for: client, on: loop)
            .flatMapThrowing { addresses in
                let allowed = addresses.filter { address in
                    policy.allows(host: target.host, address: address, port: target.port)
                        && (AddressClass(address) != .global || !own.value.contains(address, at: .now()))
                }
                guard !allowed.isEmpty else { throw PolicyError() }
                return allowed
            }.flatMap { self.connect(to: $0, tls: nil, header: nil, splice: splice) }
    }

    /// The error for a target that the policy does not allow.
    struct PolicyError: Error, CustomStringConvertible {
        var description: String { "the exit's rules do not allow the address" }
    }

    /// The reason why an attempt failed, for the log.
    static func reason(_ error: any Error) -> String {
        switch error {
        case let error as IOError: unsafe String(cString: strerror(error.errnoCode))
        case ChannelError.connectTimeout: "connecting timed out"
        default: "\(error)"
        }
    }

    /// The reason why an attempt failed, for the client.
    static func end(for error: any Error) -> StreamEnd {
        switch error {
        // A missing Unix domain socket means that the service is not running.
        case let error as IOError where [ECONNREFUSED, ENOENT].contains(error.errnoCode): .refused
        case let error as IOError where error.errnoCode == ETIMEDOUT: .timedOut
        case ChannelError.connectTimeout: .timedOut
        case is PolicyError: .notAllowed
        default: .unreachable
        }
    }
}
