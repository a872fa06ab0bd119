//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// A TCP server on loopback that echoes every byte and closes a connection once the client has finished sending.
public final class EchoServer: Sendable {
    private let channel: any Channel
    private let connections: Count

    /// The port on which the server listens.
    public let port: Int

    /// Number of connections accepted so far.
    public var connectionCount: Int { self.connections.value }

    private init(channel: any Channel, connections: Count, port: Int) {
        self.channel = channel
        self.connections = connections
        self.port = port
    }

    /// Starts a server on a free loopback port.
    public static func start() async throws -> EchoServer {
        let connections = Count()
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                connections.increment()
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(EchoHandler())
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return EchoServer(channel: channel, connections: connections, port: channel.localAddress?.port ?? 0)
    }

    /// Waits until `count` connections have been accepted in total.
    public func connected(_ count: Int) async { await self.connections.reached(count) }

    /// Stops listening. Open connections stay open.
    public func stop() async throws { try await self.channel.close() }
}

/// A counter that any thread may increment and any task may wait on.
private final class Count: Sendable {
    private struct State {
        var value = 0
        var waiters: [(Int, CheckedContinuation<Void, Never>)] = []
    }

    private let state = NIOLockedValueBox(State())

    var value: Int { self.state.withLockedValue { $0.value } }

    func increment() {
        let reached = self.state.withLockedValue { state -> [CheckedContinuation<Void, Never>] in
            state.value += 1
            let value = state.value
            let reached = state.waiters.filter { $0.0 <= value }.map(\.1)
            state.waiters.removeAll { $0.0 <= value }
            return reached
        }
        for waiter in reached { waiter.resume() }
    }

    func reached(_ value: Int) async {
        await withCheckedContinuation { waiter in
            let isReached = self.state.withLockedValue { state in
                if state.value < value { state.waiters.append((value, waiter)) }
                return state.value >= value
            }
            if isReached { waiter.resume() }
        }
    }
}

private final class EchoHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        context.writeAndFlush(data, promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .inputClosed? = event as? ChannelEvent else { return }
        let channel = context.channel
        // An empty write completes after all earlier writes; close the connection only then.
        context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer())).whenComplete { _ in channel.close(promise: nil) }
    }
}
