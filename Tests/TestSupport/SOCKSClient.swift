//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
import NIOPosix

/// A minimal SOCKS5 client for tests, with one connection and reads of exact lengths.
public final class SOCKSClient: Sendable {
    private let channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>

    private init(_ channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>) {
        self.channel = channel
    }

    /// Connects to the proxy, requests `domain:port`, and runs `body` with the reply code and the stream.
    ///
    /// The reply code is 255 if the proxy closes the connection without a reply.
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
            // Send greeting and request together, as clients do that do not wait for the method selection.
            try await outbound.write(request)
            _ = try await reader.read(2)
            let reply = try await reader.read(10)
            return try await body(reply.count > 1 ? reply[1] : 255, &reader, outbound)
        }
    }

    /// Reads a given number of bytes from the stream.
    public struct Reader {
        private var iterator: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
        private var buffer = ByteBuffer()

        init(_ iterator: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator) {
            self.iterator = iterator
        }

        /// Returns `count` bytes, or fewer if the peer closes the connection first.
        public mutating func read(_ count: Int) async throws -> [UInt8] {
            while self.buffer.readableBytes < count {
                guard var next = try await self.iterator.next(isolation: #isolation) else { break }
                self.buffer.writeBuffer(&next)
            }
            return self.buffer.readBytes(length: min(count, self.buffer.readableBytes)) ?? []
        }

        /// Returns all bytes up to the end of the stream.
        public mutating func readToEnd() async throws -> [UInt8] {
            while var next = try await self.iterator.next(isolation: #isolation) { self.buffer.writeBuffer(&next) }
            return self.buffer.readBytes(length: self.buffer.readableBytes) ?? []
        }
    }
}
