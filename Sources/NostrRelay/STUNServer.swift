//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import HTTPTransport
import Logging
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
    private let channels: [any Channel]

    /// Requests per second, and at once, from one network (``PrefixRates``).
    private static let requests = (perSecond: 20, burst: 200)
    /// Size of a receive buffer in bytes, and the number of datagrams that are read at once.
    private static let read = (size: STUNMessage.maximumLength, count: 16)

    private init(_ channels: [any Channel]) {
        self.channels = channels
        self.ports = channels.compactMap { $0.localAddress?.port.flatMap(UInt16.init(exactly:)) }
    }

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
                let channel = try await DatagramBootstrap(group: group)
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
                    .get()
                channels.append(channel)
            } catch {
                for channel in channels { channel.close(promise: nil) }
                throw OpeningError(address: address, reason: error)
            }
        }
        return STUNServer(channels)
    }

    func stop() {
        for channel in self.channels { channel.close(promise: nil) }
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
