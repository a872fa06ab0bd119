//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore
import NIOPosix
import STUN
import TunnelProtocol

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Receives the datagrams of a session.
protocol DatagramReceiver: AnyObject {
    func receive(_ datagram: ByteBuffer, from address: TransportAddress)
    /// All datagrams that had arrived together were passed to ``receive(_:from:)``.
    func receivedAll()
    /// The addresses of this machine have changed.
    func addressesChanged()
    /// The addresses under which this machine is seen have changed.
    func mappingChanged()
    /// The sockets can take more datagrams, or cannot.
    func socketsBecameWritable(_ isWritable: Bool)
}

/// The UDP sockets of a node, one for IPv4 and one for IPv6, for the direct paths of all sessions. They must be used on the
/// node's event loop.
///
/// A datagram whose connection ID belongs to no session gets no answer, and leaves nothing behind.
final class DatagramSockets {
    private let loop: any EventLoop
    private let metrics: TunnelMetrics
    private let logger: Logger
    private var channels: [Bool: any Channel] = [:]
    private var receivers: [ConnectionID: any DatagramReceiver] = [:]
    private var flushIsScheduled = false
    /// The sessions that have received datagrams since the last ``readComplete()``.
    private var active: [any DatagramReceiver] = []
    /// The port of the sockets; 0 before the first one is open, if any port will do.
    private var port = 0
    /// Whether a socket is open.
    var isOpen: Bool { !self.channels.isEmpty }
    private var isClosed = false
    /// Reports changes of the network until the sockets are closed.
    private var hostWatch: HostWatch.Registration?
    private var knownAddresses: [TransportAddress] = []
    /// Learns under which addresses the sockets are seen.
    private(set) var mappings: STUNClient?

    /// Minimum time between two openings of a socket that was closed.
    private static let reopening: TimeAmount = .milliseconds(500)
    /// When a socket was last opened.
    private var lastOpening = NIODeadline.uptimeNanoseconds(0)
    /// Addresses of checks and STUN requests that wait for the next flush, and those of the last one. If a socket is closed after
    /// it, one of them may be the reason.
    private var unproven: [TransportAddress] = []
    private var flushed: [TransportAddress] = []
    /// Addresses to which the system does not let this node send, and until when they are left out.
    private var refused: [TransportAddress: NIODeadline] = [:]
    /// The rates of checks and STUN requests. A peer or a STUN server may name the address of a victim.
    private var ratesByNetwork = PrefixRates(
        perSecond: DatagramSockets.checksByNetwork.perSecond,
        burst: DatagramSockets.checksByNetwork.burst
    )
    private var totalRate = TokenBucket(
        perSecond: DatagramSockets.checks.perSecond,
        burst: DatagramSockets.checks.burst,
        now: .now()
    )

    /// Checks and STUN requests per second, and at once: to one network, and to all.
    private static let checksByNetwork = (perSecond: 20, burst: 200)
    private static let checks = (perSecond: 200, burst: 2_000)

    /// Maximum number of refused addresses that are remembered, and for how long.
    private static let refusals = (count: 64, time: TimeAmount.minutes(5))
    /// Size of a receive buffer in bytes, and the number of datagrams that are read at once.
    private static let read = (size: 2_048, count: 32)
    /// Size of the kernel's buffers in bytes. A burst of a window must not be lost while the loop does something else.
    private static let kernelBuffer: SocketOptionValue = 4 << 20

    init(loop: any EventLoop, metrics: TunnelMetrics, logger: Logger) {
        self.loop = loop
        self.metrics = metrics
        self.logger = logger
    }

    /// Returns the sockets of a node whose configuration allows direct paths. They must be opened.
    static func make(
        _ configuration: DirectConfiguration,
        _ loop: any EventLoop,
        _ metrics: TunnelMetrics,
        _ logger: Logger
    ) -> DatagramSockets? {
        guard configuration.choice != .off else { return nil }
        let sockets = DatagramSockets(loop: loop, metrics: metrics, logger: logger)
        sockets.mappings = STUNClient(sockets, configured: configuration.stunServers, loop: loop, logger: logger)
        return sockets
    }

    // MARK: Opening

    /// Opens the sockets. If neither address family is available, there are no direct paths.
    ///
    /// - Parameter port: The UDP port; 0 for any. Both families use one port if possible.
    /// - Returns: A future that succeeds when that was tried.
    @discardableResult
    func open(port: Int) -> EventLoopFuture<Void> {
        self.port = port
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        // The second one gets the port of the first one.
        return self.open(isIPv6: false).flatMap { bound.value.open(isIPv6: true) }
    }

    private func open(isIPv6: Bool) -> EventLoopFuture<Void> {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        return self.bind(isIPv6 ? "::" : "0.0.0.0", self.port).map { channel in
            if let channel { bound.value.opened(channel, isIPv6: isIPv6) }
        }
    }

    private func opened(_ channel: any Channel, isIPv6: Bool) {
        guard !self.isClosed else { return channel.close(promise: nil) }
        self.channels[isIPv6] = channel
        self.lastOpening = .now()
        // Sessions may wait for the former socket.
        self.becameWritable(true)
        if self.port == 0 { self.port = channel.localAddress?.port ?? 0 }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        channel.closeFuture.assumeIsolated().whenComplete { _ in bound.value.lost(isIPv6: isIPv6) }
        self.hostChanged()
        guard self.hostWatch == nil else { return }
        self.hostWatch = HostWatch.shared.observe(on: self.loop) { bound.value.hostChanged() }
    }

    /// A socket was closed, because sending failed: the network may be unreachable. Opens it again.
    private func lost(isIPv6: Bool) {
        self.channels[isIPv6] = nil
        guard !self.isClosed else { return }
        self.logger.debug("UDP socket lost, opening it again", metadata: ["ipv6": "\(isIPv6)"])
        let now = NIODeadline.now()
        for address in self.flushed + self.unproven where address.isIPv6 == isIPv6 { self.refuse(address, at: now) }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(deadline: max(now, self.lastOpening + Self.reopening)) {
            bound.value.reopen(isIPv6: isIPv6)
        }
    }

    private func refuse(_ address: TransportAddress, at now: NIODeadline) {
        if self.refused.count >= Self.refusals.count { self.refused = self.refused.filter { $0.value > now } }
        guard self.refused.count < Self.refusals.count else { return }
        self.refused[address] = now + Self.refusals.time
    }

    private func reopen(isIPv6: Bool) {
        guard !self.isClosed else { return }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.bind(isIPv6 ? "::" : "0.0.0.0", self.port).assumeIsolated().whenSuccess { channel in
            if let channel { bound.value.opened(channel, isIPv6: isIPv6) } else { bound.value.lost(isIPv6: isIPv6) }
        }
    }

    /// Tells the sessions if the addresses have changed. What a socket that was opened again has is no change, so that an
    /// unreachable address does not disturb paths that work.
    private func hostChanged() {
        let addresses = self.interfaceAddresses
        guard !self.isClosed, addresses != self.knownAddresses else { return }
        self.knownAddresses = addresses
        // In another network, the system may allow what it has refused.
        self.refused = [:]
        self.flushed = []
        self.mappings?.networkChanged()
        for receiver in self.allReceivers { receiver.addressesChanged() }
    }

    /// Tells the sessions that a STUN server has seen another address.
    func mappingChanged() {
        for receiver in self.allReceivers { receiver.mappingChanged() }
    }

    /// The sessions. Each has several connection IDs.
    private var allReceivers: [any DatagramReceiver] {
        var seen: Set<ObjectIdentifier> = []
        return self.receivers.values.filter { seen.insert(ObjectIdentifier($0)).inserted }
    }

    private func bind(_ host: String, _ port: Int) -> EventLoopFuture<(any Channel)?> {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let logger = self.logger
        let size = Self.read.size * Self.read.count
        let bootstrap = DatagramBootstrap(group: self.loop)
        // Otherwise it would also take the port of the IPv4 socket.
        let own =
            host.contains(":")
            ? bootstrap.channelOption(ChannelOptions.Types.SocketOption(level: .ipv6, name: .ipv6_v6only), value: 1)
            : bootstrap
        return
            own
            .channelOption(.datagramVectorReadMessageCount, value: Self.read.count)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: size))
            .channelOption(.socketOption(.so_rcvbuf), value: Self.kernelBuffer)
            .channelOption(.socketOption(.so_sndbuf), value: Self.kernelBuffer)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(DatagramHandler(bound.value))
                }
            }
            .bind(host: host, port: port)
            .map { Optional($0) }
            .flatMapErrorThrowing { error in
                // Without IPv6 this is normal. A port that is in use is a mistake.
                let isMistake = port != 0 && (error as? IOError)?.errnoCode == EADDRINUSE
                logger.log(
                    level: isMistake ? .warning : .debug,
                    "cannot open a UDP socket, so there are no direct paths by it; choose another port or 0 for any",
                    metadata: ["address": "\(host)", "port": "\(port)", "error": "\(error)"]
                )
                return nil
            }
    }

    /// The addresses of this machine's interfaces, with the ports of the sockets. Loopback and link-local addresses are left
    /// out.
    var interfaceAddresses: [TransportAddress] {
        let devices = (try? System.enumerateDevices()) ?? []
        var addresses: [TransportAddress] = []
        for device in devices {
            guard let address = device.address, let bytes = address.addressBytes,
                [.global, .privateNetwork].contains(AddressClass(address)),
                let port = self.channels[bytes.count == 16]?.localAddress?.port.flatMap(UInt16.init(exactly:)),
                let own = TransportAddress(bytes, port: port), !addresses.contains(own)
            else { continue }
            addresses.append(own)
        }
        return addresses
    }

    // MARK: Sessions

    /// Passes datagrams with a connection ID to a session.
    func register(_ id: ConnectionID, _ receiver: any DatagramReceiver) { self.receivers[id] = receiver }

    func unregister(_ id: ConnectionID) { self.receivers[id] = nil }

    // MARK: Datagrams

    /// Sends a check or a STUN request to an address that may be unreachable. NIO closes a socket when the system refuses to send a
    /// datagram, so it is not sent without a route, or if a socket was closed after one to this address. Their rate is limited.
    func sendIfReachable(_ datagram: [UInt8], to address: TransportAddress) {
        let now = NIODeadline.now()
        guard self.refused[address].map({ $0 <= now }) ?? true, let remote = address.socketAddress,
            HostRoutes.reach(address)
        else { return }
        guard self.ratesByNetwork.admit(remote, at: now), self.totalRate.take(at: now) else {
            return self.metrics.rejected(.checkRateLimited)
        }
        if self.unproven.count < Self.refusals.count { self.unproven.append(address) }
        _ = self.send(datagram, to: address)
    }

    /// Sends a datagram. Returns false if the sockets cannot take more now; the datagram is dropped if there is no socket.
    func send(_ datagram: [UInt8], to address: TransportAddress) -> Bool {
        guard let channel = self.channels[address.isIPv6], let remote = address.socketAddress else { return true }
        channel.write(AddressedEnvelope(remoteAddress: remote, data: ByteBuffer(bytes: datagram)), promise: nil)
        if !self.flushIsScheduled {
            self.flushIsScheduled = true
            let bound = NIOLoopBound(self, eventLoop: self.loop)
            self.loop.execute {
                bound.value.flushIsScheduled = false
                bound.value.flushed = bound.value.unproven
                bound.value.unproven = []
                for channel in bound.value.channels.values { channel.flush() }
            }
        }
        return channel.isWritable
    }

    /// Whether an address is one of this machine, where its own services listen.
    func isOwn(_ address: TransportAddress) -> Bool { self.knownAddresses.contains { $0.bytes == address.bytes } }

    fileprivate func receive(_ envelope: AddressedEnvelope<ByteBuffer>) {
        guard let address = TransportAddress(envelope.remoteAddress) else { return }
        let bytes = envelope.data.readableBytesView
        if STUNMessage.isSTUN(envelope.data) {
            guard self.mappings?.receive(envelope.data) == true else { return self.metrics.rejected(.unexpectedSTUN) }
            return
        }
        guard let id = DatagramHeader.connection(of: bytes), let receiver = self.receivers[id] else {
            return self.metrics.rejected(.unknownConnection)
        }
        receiver.receive(envelope.data, from: address)
        if !self.active.contains(where: { $0 === receiver }) { self.active.append(receiver) }
    }

    fileprivate func readComplete() {
        let receivers = self.active
        self.active = []
        for receiver in receivers { receiver.receivedAll() }
    }

    fileprivate func failed(_ error: any Error) {
        self.logger.debug("datagram failed", metadata: ["error": "\(error)"])
    }

    fileprivate func becameWritable(_ isWritable: Bool) {
        for receiver in self.allReceivers { receiver.socketsBecameWritable(isWritable) }
    }

    /// Closes the sockets.
    func close() {
        self.isClosed = true
        self.hostWatch = nil
        self.mappings?.stop()
        self.receivers = [:]
        for channel in self.channels.values { channel.close(promise: nil) }
        self.channels = [:]
    }
}

/// Passes the events of a socket to ``DatagramSockets``.
private final class DatagramHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let sockets: DatagramSockets

    init(_ sockets: DatagramSockets) { self.sockets = sockets }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { self.sockets.receive(self.unwrapInboundIn(data)) }

    func channelReadComplete(context: ChannelHandlerContext) { self.sockets.readComplete() }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        self.sockets.becameWritable(context.channel.isWritable)
        context.fireChannelWritabilityChanged()
    }

    /// An error of a single datagram, for example an ICMP message that a port is closed. NIO closes the socket after others.
    func errorCaught(context: ChannelHandlerContext, error: any Error) { self.sockets.failed(error) }
}
