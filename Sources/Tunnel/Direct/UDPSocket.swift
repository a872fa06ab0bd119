//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore
import NIOPosix
import STUN

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Receives the events of a socket.
protocol UDPSocketDelegate: AnyObject {
    func socketDidOpen(_ socket: UDPSocket)
    /// The socket was closed, because the system refused to send a datagram. It opens again by itself.
    ///
    /// - Parameter address: The address to which the system has refused to send; nil if that was not the reason.
    func socketDidClose(_ socket: UDPSocket, after address: TransportAddress?)
    func socket(_ socket: UDPSocket, didReceive datagram: ByteBuffer, from address: TransportAddress)
    /// All datagrams that are handled together were passed to the delegate.
    func socketDidReceiveAll(_ socket: UDPSocket)
    func socket(_ socket: UDPSocket, becameWritable isWritable: Bool)
}

/// A UDP socket of one address family. It is opened again when it was closed by an error.
///
/// Datagrams of one turn of the event loop are sent together: those of equal size to one address in one piece (UDP segmentation
/// offload), all pieces with one system call. Linux also passes datagrams of one sender in one piece.
final class UDPSocket {
    let isIPv6: Bool
    private let loop: any EventLoop
    private let logger: Logger
    private weak var delegate: (any UDPSocketDelegate)?
    private var channel: (any Channel)?
    /// The port to open; 0 for any, before the first opening.
    private var requestedPort = 0
    private var isClosed = false
    /// Whether the socket was open.
    private var wasOpen = false
    /// When it was last tried to open the socket, and how often that has failed since it was open.
    private var lastOpening = NIODeadline.uptimeNanoseconds(0)
    private var failures = 0

    private var batch: DatagramBatch?
    private var flushIsScheduled = false
    /// Whether to use segmentation offload. It is turned off when the system refuses a piece because of it.
    private var segments = UDPSocket.canSegment
    private var segmentationFailed = false
    /// Whether a datagram was sent since the last flush.
    private var hasUnflushed = false
    /// The last address that was not validated and to which the system has refused to send; nil if it has sent since.
    private var refused: TransportAddress?
    /// Number of datagrams since the delegate was last told that these were all.
    private var received = 0
    /// The last sender, in both forms.
    private var lastSource: (socket: SocketAddress, transport: TransportAddress)?

    #if os(Linux)
    private static let canSegment = true
    #else
    private static let canSegment = false
    #endif

    /// Minimum and maximum time between two attempts to open the socket. The time doubles when one fails.
    private static let reopening = (minimum: TimeAmount.milliseconds(500), maximum: TimeAmount.seconds(30))
    /// Number of datagrams after which the sessions handle them and answer, although more have arrived. Meanwhile the peer sends
    /// on, so that both work at the same time.
    private static let handledTogether = 88

    init(isIPv6: Bool, delegate: any UDPSocketDelegate, loop: any EventLoop, logger: Logger) {
        self.isIPv6 = isIPv6
        self.delegate = delegate
        self.loop = loop
        self.logger = logger
    }

    // MARK: Opening

    var isOpen: Bool { self.channel != nil }
    /// The UDP port, also while the socket is being opened again; nil if it was never open.
    var port: Int? { self.channel?.localAddress?.port ?? (self.wasOpen && !self.isClosed ? self.requestedPort : nil) }

    /// Opens the socket. It stays closed if the address family is not available.
    ///
    /// - Parameter port: The UDP port; 0 for any.
    /// - Returns: A future that succeeds when that was tried.
    func open(port: Int) -> EventLoopFuture<Void> {
        self.requestedPort = port
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        return self.bind().map { channel in
            if let channel { bound.value.opened(channel) }
        }
    }

    private func opened(_ channel: any Channel) {
        guard !self.isClosed else { return channel.close(promise: nil) }
        self.channel = channel
        self.wasOpen = true
        self.failures = 0
        self.lastOpening = .now()
        if self.requestedPort == 0 { self.requestedPort = channel.localAddress?.port ?? 0 }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        channel.closeFuture.assumeIsolated().whenComplete { _ in bound.value.lost() }
        self.delegate?.socketDidOpen(self)
    }

    private func lost() {
        self.channel = nil
        self.batch = nil
        guard !self.isClosed else { return }
        self.logger.debug(
            "UDP socket lost, opening it again",
            metadata: ["ipv6": "\(self.isIPv6)", "segments": "\(self.segments)"]
        )
        // Some devices and tunnels cannot segment. If that was the reason, no address is.
        let address = self.segmentationFailed ? nil : self.refused
        self.segmentationFailed = false
        self.refused = nil
        self.delegate?.socketDidClose(self, after: address)
        self.reopenLater()
    }

    private func reopenLater() {
        let pause = min(Self.reopening.maximum, Self.reopening.minimum * (1 << min(self.failures, 10)))
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(deadline: max(.now(), self.lastOpening + pause)) { bound.value.reopen() }
    }

    private func reopen() {
        guard !self.isClosed else { return }
        self.lastOpening = .now()
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.bind().assumeIsolated().whenSuccess { channel in
            if let channel { return bound.value.opened(channel) }
            bound.value.failures += 1
            bound.value.reopenLater()
        }
    }

    /// A piece of several datagrams was not sent, for a reason that others do not have.
    private func segmentFailed(_ error: any Error) {
        guard let code = (error as? IOError)?.errnoCode, [EIO, EINVAL, ENOPROTOOPT].contains(code) else { return }
        self.segments = false
        self.segmentationFailed = true
    }

    /// In another network, the system may allow what it has refused.
    func networkChanged() {
        self.refused = nil
        self.segments = Self.canSegment
    }

    private func bind() -> EventLoopFuture<(any Channel)?> {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let host = self.isIPv6 ? "::" : "0.0.0.0"
        let port = self.requestedPort
        let logger = self.logger
        let isFirst = self.failures == 0
        return UDPSocketOptions.bootstrap(isIPv6: self.isIPv6, loop: self.loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(DatagramHandler(bound.value))
                }
            }
            .bind(host: host, port: port)
            .map { Optional($0) }
            .flatMapErrorThrowing { error in
                // Without IPv6 this is normal. A port that is in use is a mistake.
                let isMistake = isFirst && port != 0 && (error as? IOError)?.errnoCode == EADDRINUSE
                logger.log(
                    level: isMistake ? .warning : .debug,
                    "cannot open a UDP socket, so there are no direct paths over this address family; choose another --direct-port, or 0 for any",
                    metadata: ["address": "\(host)", "port": "\(port)", "error": "\(error)"]
                )
                return nil
            }
    }

    /// Closes the socket for good.
    func close() {
        self.isClosed = true
        // What was sent in this turn, such as the end of a session.
        self.flush()
        self.channel?.close(promise: nil)
        self.channel = nil
    }

    // MARK: Datagrams

    /// Sends a datagram to an address that has answered, at the end of the event loop's turn. It is dropped if the socket is not open.
    ///
    /// - Parameters:
    ///   - size: Number of bytes of the datagram.
    ///   - address: The address, of the socket's family.
    ///   - write: Appends the datagram to those that are sent together with it. If it returns false, it has appended nothing, and this
    ///     datagram is not sent.
    /// - Returns: False if the socket cannot take more now.
    func send(_ size: Int, to address: TransportAddress, write: (inout ByteBuffer) -> Bool) -> Bool {
        guard let channel = self.channel else { return true }
        self.hasUnflushed = true
        if self.segments, self.batch?.hasRoom(size, to: address) == true {
            self.batch?.append(size, write: write)
        } else {
            self.writeBatch(to: channel)
            self.batch = DatagramBatch(size, to: address, write: write)
        }
        if !self.flushIsScheduled {
            self.flushIsScheduled = true
            let bound = NIOLoopBound(self, eventLoop: self.loop)
            self.loop.execute { bound.value.flush() }
        }
        return channel.isWritable
    }

    /// Sends a datagram: at the end of the event loop's turn if the address is validated, otherwise at once and alone. It is dropped if the
    /// socket is not open.
    ///
    /// - Parameters:
    ///   - datagram: The datagram.
    ///   - address: The address, of the socket's family.
    ///   - isValidated: Whether the address has answered, so that the system is known to allow datagrams to it.
    func send(_ datagram: [UInt8], to address: TransportAddress, isValidated: Bool) {
        guard !isValidated else {
            _ = self.send(datagram.count, to: address) { $0.writeBytes(datagram) > 0 }
            return
        }
        if let channel { self.sendAlone(datagram, to: address, over: channel) }
    }

    /// Sends a datagram that the system may refuse. The channel then closes, and the address is remembered as the reason.
    private func sendAlone(_ datagram: [UInt8], to address: TransportAddress, over channel: any Channel) {
        self.writeBatch(to: channel)
        let batch = DatagramBatch(datagram.count, to: address) { $0.writeBytes(datagram) > 0 }
        guard let envelope = batch?.envelope else { return }
        let promise = self.loop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { [weak self] result in
            switch result {
            case .success: self?.refused = nil
            // Datagrams that wait behind the refused one fail, too.
            case .failure(let error): if error is IOError, self?.refused == nil { self?.refused = address }
            }
        }
        channel.writeAndFlush(envelope, promise: promise)
    }

    private func flush() {
        self.flushIsScheduled = false
        guard let channel, self.hasUnflushed else { return }
        self.hasUnflushed = false
        self.writeBatch(to: channel)
        channel.flush()
    }

    private func writeBatch(to channel: any Channel) {
        guard let envelope = self.batch?.envelope else { return }
        self.batch = nil
        guard envelope.metadata?.segmentSize != nil else { return channel.write(envelope, promise: nil) }
        let promise = self.loop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenFailure { [weak self] in self?.segmentFailed($0) }
        channel.write(envelope, promise: promise)
    }

    fileprivate func receive(_ envelope: AddressedEnvelope<ByteBuffer>) {
        guard let delegate, let address = self.transportAddress(envelope.remoteAddress) else { return }
        var data = envelope.data
        if let segment = envelope.metadata?.segmentSize, segment > 0 {
            while data.readableBytes > segment, let datagram = data.readSlice(length: segment) {
                delegate.socket(self, didReceive: datagram, from: address)
                self.received += 1
            }
        }
        delegate.socket(self, didReceive: data, from: address)
        self.received += 1
        if self.received >= Self.handledTogether {
            self.readComplete()
            self.flush()
        }
    }

    private func transportAddress(_ source: SocketAddress) -> TransportAddress? {
        if let lastSource, lastSource.socket == source { return lastSource.transport }
        guard let address = TransportAddress(source) else { return nil }
        self.lastSource = (source, address)
        return address
    }

    fileprivate func readComplete() {
        self.received = 0
        self.delegate?.socketDidReceiveAll(self)
    }

    fileprivate func becameWritable(_ isWritable: Bool) { self.delegate?.socket(self, becameWritable: isWritable) }

    fileprivate func failed(_ error: any Error) {
        self.logger.debug("datagram failed", metadata: ["error": "\(error)"])
    }
}

/// Passes the events of a channel to ``UDPSocket``.
private final class DatagramHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let socket: UDPSocket

    init(_ socket: UDPSocket) { self.socket = socket }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { self.socket.receive(self.unwrapInboundIn(data)) }

    func channelReadComplete(context: ChannelHandlerContext) { self.socket.readComplete() }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        self.socket.becameWritable(context.channel.isWritable)
        context.fireChannelWritabilityChanged()
    }

    /// An error of a single datagram, for example an ICMP message that a port is closed. NIO closes the socket after others.
    func errorCaught(context: ChannelHandlerContext, error: any Error) { self.socket.failed(error) }
}
