//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import HTTPTransport
import Logging
import NIOConcurrencyHelpers
package import NIOCore
import NIOPosix
import STUN

/// Answers STUN binding requests (RFC 8489) at UDP ports, so that clients learn under which addresses they are seen.
///
/// An answer is never longer than its request, and each network has a limit on its rate, so the server is of no use for attacks
/// with forged addresses.
package final class STUNServer: Sendable {
    /// The ports at which requests are answered.
    let ports: [UInt16]
    private let state: NIOLockedValueBox<State>
    private let group: any EventLoopGroup
    private let metrics: RelayMetrics
    private let logger: Logger

    private struct State: Sendable {
        var channels: [any Channel]
        var isStopped = false
    }

    /// Requests per second, and at once, from one network (``PrefixRates``).
    private static let requests = (perSecond: 20, burst: 200)
    /// Size of a receive buffer in bytes, and the number of datagrams that are read at once.
    private static let read = (size: STUNMessage.maximumLength, count: 16)
    /// Time until a port is opened again that was closed.
    private static let reopening: TimeAmount = .milliseconds(100)

    /// A port could not be opened.
    package struct OpeningError: Error, Sendable {
        /// The address of the port.
        package let address: SocketAddress
        /// The error of the system.
        package let reason: any Error
    }

    /// Opens the ports.
    ///
    /// - Throws: ``OpeningError`` if one of them cannot be opened.
    static func start(
        _ addresses: [SocketAddress],
        on group: any EventLoopGroup,
        metrics: RelayMetrics,
        logger: Logger
    ) async throws -> STUNServer {
        var channels: [any Channel] = []
        for address in addresses {
            do {
                channels.append(try await Self.open(address, on: group, metrics, logger).get())
            } catch {
                for channel in channels { channel.close(promise: nil) }
                throw OpeningError(address: address, reason: error)
            }
        }
        return STUNServer(channels, group, metrics, logger)
    }

    private init(
        _ channels: [any Channel],
        _ group: any EventLoopGroup,
        _ metrics: RelayMetrics,
        _ logger: Logger
    ) {
        self.ports = channels.compactMap { $0.localAddress?.port.flatMap(UInt16.init(exactly:)) }
        self.state = NIOLockedValueBox(State(channels: channels))
        self.group = group
        self.metrics = metrics
        self.logger = logger
        for channel in channels { self.watch(channel, channel.localAddress) }
    }

    private static func open(
        _ address: SocketAddress,
        on group: any EventLoopGroup,
        _ metrics: RelayMetrics,
        _ logger: Logger
    ) -> EventLoopFuture<any Channel> {
        DatagramBootstrap(group: group)
            .channelOption(.datagramVectorReadMessageCount, value: Self.read.count)
            .channelOption(
                .recvAllocator,
                value: FixedSizeRecvByteBufferAllocator(capacity: Self.read.size * Self.read.count)
            )
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let rates = PrefixRates(perSecond: Self.requests.perSecond, burst: Self.requests.burst)
                    try channel.pipeline.syncOperations.addHandler(RequestHandler(rates, metrics, logger))
                }
            }
            .bind(to: address)
    }

    /// Opens a port again when it is closed. NIO closes it if the system refuses to send an answer, for example because of a rule of
    /// the firewall.
    private func watch(_ channel: any Channel, _ address: SocketAddress?) {
        guard let address else { return }
        channel.closeFuture.whenComplete { _ in
            guard !self.state.withLockedValue({ $0.isStopped }) else { return }
            self.logger.debug("STUN port closed, opening it again", metadata: ["address": "\(address)"])
            self.reopen(address)
        }
    }

    private func reopen(_ address: SocketAddress) {
        _ = self.group.next().scheduleTask(in: Self.reopening) {
            Self.open(address, on: self.group, self.metrics, self.logger).whenComplete { result in
                guard case .success(let channel) = result else {
                    return self.state.withLockedValue { $0.isStopped } ? () : self.reopen(address)
                }
                let isStopped = self.state.withLockedValue { state in
                    state.channels.removeAll { !$0.isActive }
                    state.channels.append(channel)
                    return state.isStopped
                }
                if isStopped { channel.close(promise: nil) } else { self.watch(channel, address) }
            }
        }
    }

    func stop() {
        let channels = self.state.withLockedValue { state in
            state.isStopped = true
            return state.channels
        }
        for channel in channels { channel.close(promise: nil) }
    }

    /// Answers the requests that arrive at one port.
    private final class RequestHandler: ChannelInboundHandler {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>
        typealias OutboundOut = AddressedEnvelope<ByteBuffer>

        private var rates: PrefixRates
        private let metrics: RelayMetrics
        private let logger: Logger
        private var hasAnswers = false

        init(_ rates: PrefixRates, _ metrics: RelayMetrics, _ logger: Logger) {
            self.rates = rates
            self.metrics = metrics
            self.logger = logger
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let request = self.unwrapInboundIn(data)
            guard let mapped = TransportAddress(request.remoteAddress),
                case .request(let id)? = STUNMessage(request.data)
            else { return self.metrics.rejected(.malformedSTUN) }
            let answer = STUNMessage.response(id, mapped: mapped).encoded
            guard request.data.readableBytes >= answer.readableBytes else {
                return self.metrics.rejected(.malformedSTUN)
            }
            guard self.rates.admit(request.remoteAddress, at: .now()) else {
                return self.metrics.rejected(.stunRateLimited)
            }
            self.metrics.stunRequests.increment()
            self.hasAnswers = true
            context.write(
                self.wrapOutboundOut(AddressedEnvelope(remoteAddress: request.remoteAddress, data: answer)),
                promise: nil
            )
        }

        func channelReadComplete(context: ChannelHandlerContext) {
            guard self.hasAnswers else { return }
            self.hasAnswers = false
            context.flush()
        }

        /// An error of a single datagram, such as an ICMP message that a client's port is closed.
        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            self.logger.debug("STUN answer failed", metadata: ["error": "\(error)"])
        }
    }
}
