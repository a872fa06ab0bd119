//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import HTTPTransport
import Logging
import MetricsTestKit
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Nostr
import NostrCrypto
import NostrRelay
import TestSupport
import Testing
import Tunnel
import TunnelProtocol

@Suite("A recorded session, replayed at both ends", .timeLimit(.minutes(10)))
struct SessionReplayTests {
    /// The counters of this process; other suites count in them too.
    private static let metrics: TestMetrics = {
        let metrics = TestMetrics()
        MetricsSystem.bootstrap(metrics)
        return metrics
    }()

    /// Events that were not taken, whatever the reason: mostly that they came again, which their ids, their relay or the
    /// numbers of their packets show; where the machine is slow, also that nobody waits for such an answer any more.
    private static func rejections() -> Int64 {
        ["nws_tunnel_events_rejected_total", "nws_tunnel_messages_reported_total"].reduce(0) {
            $0 + Self.metrics.counterTotal(label: $1)
        }
    }

    /// Those of them that came again: by their ids, by another relay than theirs, or by the number of their packet.
    private static func replays() -> Int64 {
        let ids = Self.metrics.counterTotal(
            label: "nws_tunnel_events_rejected_total",
            dimensions: [("reason", "duplicate")]
        )
        return ["wrong_path", "repeated_packet"].reduce(ids) {
            $0 + Self.metrics.counterTotal(label: "nws_tunnel_messages_reported_total", dimensions: [("what", $1)])
        }
    }

    /// A client of a relay that records all tunnel messages, and publishes what it is given.
    private final class Spy: Sendable {
        let recorded = NIOLockedValueBox<[ReceivedEvent]>([])
        private let socket = NIOLockedValueBox<WebSocket?>(nil)
        private let answers: AsyncStream<Bool>
        private let continuation: AsyncStream<Bool>.Continuation

        init() {
            (self.answers, self.continuation) = AsyncStream<Bool>.makeStream()
        }

        /// Connects, and hears every message of tunnels from then on.
        static func connect(to relay: RelayServer) async throws -> Spy {
            let spy = Spy()
            let socket = try await WebSocketClient.connect(
                to: WebSocketClient.Target(
                    addresses: [relay.localAddress],
                    host: "127.0.0.1",
                    authority: "127.0.0.1",
                    requestTarget: "/",
                    tls: nil
                ),
                on: MultiThreadedEventLoopGroup.singleton.next(),
                configuration: WebSocketConfiguration(),
                events: WebSocket.Events(
                    onMessage: { spy.receive($0) },
                    onClose: { _ in spy.continuation.finish() }
                )
            ).get()
            spy.socket.withLockedValue { $0 = socket }
            _ = try await spy.ask(ByteBuffer(string: #"["REQ","spy",{"kinds":[28333],"limit":0}]"#))
            return spy
        }

        private func receive(_ message: ByteBuffer) {
            switch try? RelayMessage.parse(message) {
            case .event(_, let event): self.recorded.withLockedValue { $0.append(event) }
            case .ok(_, let isAccepted, let reason): self.continuation.yield(isAccepted && reason.prefix != .duplicate)
            case .endOfStoredEvents: self.continuation.yield(true)
            default: break
            }
        }

        /// Sends a message and waits for its answer: whether the relay passed it on.
        func ask(_ message: ByteBuffer) async throws -> Bool {
            guard let socket = self.socket.withLockedValue({ $0 }) else { return false }
            try await socket.eventLoop.submit { socket.sendText(message) }.get()
            for await answer in self.answers { return answer }
            return false
        }
    }

    @Test("a replay opens no connection, delivers no byte, and is counted")
    func replay() async throws {
        _ = Self.metrics
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        var configuration = RelayConfiguration(host: "127.0.0.1", port: 0)
        configuration.deliversTunnelMessagesToRecipientsOnly = false
        let hostile = try await RelayServer.start(
            configuration,
            on: MultiThreadedEventLoopGroup.singleton,
            logger: logger
        )
        let server = try await EchoServer.start()
        let other = try RelayURL(hostile.url)
        let tunnel = try await WholeTunnel.start(backendPort: server.port) {
            $0.relays.append(other)
        } relayChange: {
            $0.deliversTunnelMessagesToRecipientsOnly = false
        }
        let spies = [
            try await Spy.connect(to: tunnel.relay), try await Spy.connect(to: hostile),
        ]
        let passedOn = try await SOCKSClient.connect(
            proxy: tunnel.entryAddress,
            domain: tunnel.name,
            port: 80
        ) { reply, inbound, outbound in
            #expect(reply == 0)
            let bytes = WholeTunnelTests.pattern(200_000)
            try await outbound.write(ByteBuffer(bytes: bytes))
            #expect(try await inbound.read(bytes.count) == bytes)

            // Everything that the first relay saw (an offer, its answer, packets of the session) comes again by the second, in
            // the middle of the session.
            let recorded = spies[0].recorded.withLockedValue { $0 }
            #expect(recorded.count > 2)
            let (before, replaysBefore) = (Self.rejections(), Self.replays())
            var passedOn: Int64 = 0
            for event in recorded {
                if try await spies[1].ask(ClientMessage.encodeEvent(event.event)) { passedOn += 1 }
            }
            #expect(passedOn > 1)
            // Whoever is asked for later is answered later: by then both ends have seen it all.
            try await outbound.write(ByteBuffer(bytes: [7]))
            #expect(try await inbound.read(1) == [7])
            while Self.rejections() - before < passedOn {
                try Task.checkCancellation()
                await Task.yield()
            }
            #expect(Self.replays() > replaysBefore)
            outbound.finish()
            #expect(try await inbound.readToEnd().isEmpty)
            return passedOn
        }
        #expect(passedOn > 1)
        #expect(server.connectionCount == 1)
        try await tunnel.stop()
        try await hostile.stop()
        try await server.stop()
    }
}
