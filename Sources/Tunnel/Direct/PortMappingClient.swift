//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore
import NIOPosix
import NostrCrypto
import PortMapping
import STUN

/// Requests a port mapping from the router of this machine's network, so that datagrams from outside reach the sockets of direct
/// paths. Only a gateway with a private address is asked; any other is probably the provider's.
final class PortMappingClient {
    private unowned let sockets: DatagramSockets
    private let loop: any EventLoop
    private let logger: Logger
    /// The nonce of all mappings. The router would not renew a mapping with another one.
    private let nonce = PortMappingNonce(random: Bytes32.random().bytes)
    private var mapper: PortMapper?
    private var channel: (any Channel)?
    /// The router, and the address and port of this machine that it maps.
    private var route: Route?
    private var timer: LinkTimer?
    private var isConnecting = false
    private var isStopped = false

    private struct Route: Hashable {
        let gateway: SocketAddress
        let client: TransportAddress
    }

    init(_ sockets: DatagramSockets, loop: any EventLoop, logger: Logger) {
        self.sockets = sockets
        self.loop = loop
        self.logger = logger
        self.timer = LinkTimer(loop: loop) { [weak self] in self?.update { $0.timeout(at: $1) } }
    }

    /// The address and port at which the router receives datagrams for this node, and by which protocol it was asked.
    var mapping: (address: TransportAddress, by: PortMapper.MappingProtocol)? { self.mapper?.mapping }

    /// Asks the router for a mapping, or makes sure that it still exists. When the mapping changes,
    /// ``DatagramSockets/mappingChanged()`` is called.
    func refresh() {
        if self.channel != nil {
            return self.update {
                $0.refresh(at: $1)
                return false
            }
        }
        guard !self.isConnecting, !self.isStopped, let route = self.currentRoute,
            let router = try? SocketAddress(ipAddress: route.gateway.ipAddress ?? "", port: PortMapper.routerPort)
        else { return }
        self.isConnecting = true
        // A mapping of another address or router is of no use.
        if route != self.route { self.mapper = nil }
        self.route = route
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        DatagramBootstrap(group: self.loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(RouterHandler(bound.value))
                }
            }
            .connect(to: router)
            .assumeIsolated()
            .whenComplete { result in
                bound.value.isConnecting = false
                switch result {
                case .success(let channel): bound.value.connected(channel, by: route)
                case .failure(let error): bound.value.failed(error)
                }
            }
    }

    /// The router that may be asked now, and what it is asked for.
    private var currentRoute: Route? {
        guard let port = self.sockets.ipv4Port, let gateway = HostRoutes.defaultGateway(),
            AddressClass(gateway) == .privateNetwork,
            let client = HostRoutes.source(throughGateway: gateway).flatMap({ TransportAddress($0, port: port) })
        else { return nil }
        return Route(gateway: gateway, client: client)
    }

    private func connected(_ channel: any Channel, by route: Route) {
        guard !self.isStopped, route == self.route, let nonce else { return channel.close(promise: nil) }
        self.channel = channel
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        channel.closeFuture.assumeIsolated().whenComplete { _ in bound.value.closed(channel) }
        if self.mapper == nil { self.mapper = PortMapper(client: route.client, nonce: nonce) }
        self.refresh()
    }

    private func closed(_ channel: any Channel) {
        if self.channel === channel { self.channel = nil }
    }

    /// Changes the state and performs what follows. `body` returns whether the mapping has changed.
    private func update(_ body: (inout PortMapper, NIODeadline) -> Bool) {
        guard var mapper else { return }
        let hasChanged = body(&mapper, .now())
        var requests: [ByteBuffer] = []
        while let request = mapper.nextRequest() { requests.append(request) }
        self.mapper = mapper
        for request in requests { self.channel?.writeAndFlush(request, promise: nil) }
        if let deadline = mapper.nextDeadline { self.timer?.set(deadline) }
        guard hasChanged else { return }
        if let mapping = mapper.mapping {
            self.logger.info(
                "the router forwards a UDP port to this node",
                metadata: ["address": "\(mapping.address.text)", "protocol": "\(mapping.by.rawValue)"]
            )
        } else {
            self.logger.info("the router no longer forwards a UDP port to this node")
        }
        self.sockets.mappingChanged()
    }

    fileprivate func receive(_ datagram: ByteBuffer) { self.update { $0.receive(datagram, at: $1) } }

    fileprivate func failed(_ error: any Error) {
        self.logger.debug("cannot ask the router for a port", metadata: ["error": "\(error)"])
        self.update {
            $0.unreachable(at: $1)
            return false
        }
    }

    /// The machine may be in another network. If the router or this machine's address has changed, gives up the mapping.
    func networkChanged() {
        if let route, route == self.currentRoute { return }
        self.release()
    }

    /// Removes the mapping.
    func stop() {
        self.isStopped = true
        self.release()
    }

    private func release() {
        self.timer?.cancel()
        self.mapper?.stop()
        while let request = self.mapper?.nextRequest() { self.channel?.writeAndFlush(request, promise: nil) }
        self.mapper = nil
        self.route = nil
        let channel = self.channel
        self.channel = nil
        channel?.close(promise: nil)
    }
}

/// Passes the router's answers to ``PortMappingClient``. The socket is connected, so it receives datagrams of the router only.
private final class RouterHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let client: PortMappingClient

    init(_ client: PortMappingClient) { self.client = client }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.client.receive(self.unwrapInboundIn(data).data)
    }

    /// An ICMP message: the router does not listen.
    func errorCaught(context: ChannelHandlerContext, error: any Error) { self.client.failed(error) }
}
