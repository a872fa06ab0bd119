//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
import NIOPosix

/// A plain SOCKS5 client for tests: one connection, whole reads.
public final class SOCKSClient: Sendable {
    private let channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>

    private init(_ channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>) {
        self.channel = channel
    }

    /// Connects to the proxy, asks for a domain, and runs `body` with the reply code and the stream behind it.
    public static func connect<Result: Sendable>(
        proxy: SocketAddress,
        domain: String,
        port: UInt16,
        body:
            @escaping @Sendable (
                _ reply: UInt8,
                _ inbound: inout Reader,
                _ outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
            ) async throws -> Result
    ) async throws -> Result {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .connect(to: proxy) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(
                        wrappingChannelSynchronously: channel,
                        configuration: .init(isOutboundHalfClosureEnabled: true)
                    )
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            var reader = Reader(inbound.makeAsyncIterator())
            var request = ByteBuffer(bytes: [5, 1, 0, 5, 1, 0, 3, UInt8(domain.utf8.count)])
            request.writeString(domain)
            request.writeInteger(port)
            // Greeting and request in one segment, as hasty clients send them.
            try await outbound.write(request)
            _ = try await reader.read(2)
            let reply = try await reader.read(10)
            return try await body(reply.count > 1 ? reply[1] : 255, &reader, outbound)
        }
    }

    /// Reads exact numbers of bytes.
    public struct Reader {
        private var iterator: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
        private var buffer = ByteBuffer()

        init(_ iterator: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator) {
            self.iterator = iterator
        }

        /// `count` bytes, or fewer if the other side closed.
        public mutating func read(_ count: Int) async throws -> [UInt8] {
            while self.buffer.readableBytes < count {
                guard var next = try await self.iterator.next(isolation: #isolation) else { break }
                self.buffer.writeBuffer(&next)
            }
            return self.buffer.readBytes(length: min(count, self.buffer.readableBytes)) ?? []
        }

        /// Everything until the other side closes.
        public mutating func readToEnd() async throws -> [UInt8] {
            while var next = try await self.iterator.next(isolation: #isolation) { self.buffer.writeBuffer(&next) }
            return self.buffer.readBytes(length: self.buffer.readableBytes) ?? []
        }
    }
}
