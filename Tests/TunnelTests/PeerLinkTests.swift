//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import NIOEmbedded
import NostrClient
import NostrCrypto
import Testing
import TunnelProtocol

@testable import Tunnel

/// A link whose engine does what the test scripts, without relays.
@Suite("Link to a peer")
struct PeerLinkTests {
    /// Emits the actions that a test adds, and records its inputs.
    private struct ScriptedEngine: StreamEngine {
        typealias Signal = String
        static let recognizesRepeatedMessages = true

        var actions: [StreamAction<String>] = []
        var inputs: [String] = []
        var isIdle = true

        mutating func connected(_ stream: StreamID, at now: Moment) { self.inputs.append("connected \(stream)") }
        mutating func send(_ stream: StreamID, _ data: ByteBuffer, at now: Moment) {
            self.inputs.append("send \(stream)")
            self.actions.append(.credit(stream, data.readableBytes))
        }
        mutating func finish(_ stream: StreamID, at now: Moment) { self.inputs.append("finish \(stream)") }
        mutating func reset(_ stream: StreamID, _ reason: StreamEnd, at now: Moment) {
            self.inputs.append("reset \(stream) \(reason.rawValue)")
        }
        mutating func resetAfterDelivery(_ stream: StreamID, _ reason: StreamEnd, at now: Moment) {}
        mutating func consumed(_ stream: StreamID, _ bytes: Int, at now: Moment) {
            self.inputs.append("consumed \(bytes)")
        }
        mutating func receive(
            _ plaintext: ByteBuffer,
            createdAt: Int64,
            generation: Int,
            path: PathID,
            at now: Moment
        ) {}
        mutating func published(_ token: MessageToken, _ outcome: PublishOutcome, at now: Moment) {
            self.inputs.append("published \(outcome)")
        }
        mutating func addPath(_ path: PathID, _ description: PathDescription, at now: Moment) {}
        mutating func removePath(_ path: PathID, at now: Moment) {}
        mutating func setWritable(_ path: PathID, _ isWritable: Bool, at now: Moment) {}
        mutating func close(_ reason: StreamEnd?, at now: Moment) { self.inputs.append("close") }
        mutating func timeout(at now: Moment) {}
        var nextDeadline: NIODeadline? { nil }
        mutating func nextAction() -> StreamAction<String>? {
            self.actions.isEmpty ? nil : self.actions.removeFirst()
        }
        var streamCount: Int { 0 }
    }

    private final class Owner: PeerLinkDelegate {
        var decision = StreamDecision.refused(.notAllowed)
        var signals: [String] = []
        var idle = 0

        func link(
            _ link: PeerLink<ScriptedEngine>,
            isAskedFor request: StreamRequest,
            as id: StreamID
        ) -> StreamDecision { self.decision }
        func link(_ link: PeerLink<ScriptedEngine>, didReceive signal: String) { self.signals.append(signal) }
        func link(_ link: PeerLink<ScriptedEngine>, wasRejectedBy relay: RelayConnection) {}
        func linkDidBecomeIdle(_ link: PeerLink<ScriptedEngine>) { self.idle += 1 }
    }

    private final class Endpoint: StreamEndpoint {
        weak var link: PeerLink<ScriptedEngine>?
        var calls: [String] = []

        func opened() { self.calls.append("opened") }
        func credit(_ bytes: Int) { self.calls.append("credit \(bytes)") }
        /// Answers at once, while the link performs the engine's actions.
        func receive(_ data: ByteBuffer) {
            self.calls.append("data \(data.readableBytes)")
            self.link?.send(StreamID(rawValue: 1), ByteBuffer(bytes: [9]))
        }
        func finished() { self.calls.append("finished") }
        func ended(_ reason: StreamEnd?) { self.calls.append("ended \(reason?.rawValue ?? "complete")") }
    }

    private static let id = StreamID(rawValue: 1)
    private static let request = StreamRequest(destination: "x.nostr", port: 80)
    private let owner = Owner()
    private let link: PeerLink<ScriptedEngine>

    init() throws {
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        self.link = PeerLink(
            sealer: try MessageSealer(own: .generate(), peer: SecretKey.generate().publicKey),
            engine: ScriptedEngine(),
            loop: EmbeddedEventLoop(),
            metrics: TunnelMetrics(logger: logger),
            logger: logger
        )
        self.link.delegate = self.owner
    }

    private func perform(_ actions: StreamAction<String>...) {
        self.link.update { engine, _ in engine.actions += actions }
    }

    @Test("a stream that the owner refuses is reset, and the link is idle again")
    func refused() {
        self.perform(.incoming(Self.id, Self.request))
        #expect(self.link.engine.inputs == ["reset 1 not-allowed"])
        #expect(self.owner.idle == 1)
        #expect(self.link.idleSince != nil)
    }

    @Test("actions reach the endpoint in order, also those that its own answers cause")
    func order() {
        let endpoint = Endpoint()
        endpoint.link = self.link
        self.owner.decision = .accepted(endpoint)
        self.perform(
            .incoming(Self.id, Self.request),
            .data(Self.id, ByteBuffer(bytes: [1, 2])),
            .finished(Self.id),
            .ended(Self.id, nil)
        )
        // The credit of the answer comes after the actions that were there before it, so the stream has ended.
        #expect(endpoint.calls == ["data 2", "finished", "ended complete"])
        #expect(self.link.engine.inputs == ["send 1"])
        #expect(self.owner.idle == 1)
    }

    @Test("an endpoint that reset its stream hears no more of it")
    func reset() {
        let endpoint = Endpoint()
        self.owner.decision = .accepted(endpoint)
        self.perform(.incoming(Self.id, Self.request))
        self.link.reset(Self.id, .cancelled)
        self.link.reset(Self.id, .cancelled)
        self.perform(.data(Self.id, ByteBuffer(bytes: [1])), .ended(Self.id, .peerLost))
        #expect(endpoint.calls == [])
        #expect(self.link.engine.inputs == ["reset 1 cancelled"])
    }

    @Test("a message for a path without a relay is reported as unreachable")
    func unreachable() {
        self.perform(
            .publish(
                MessageToken(rawValue: 1),
                plaintext: ByteBuffer(bytes: [1]),
                createdAt: 1_000,
                paths: [PathID(rawValue: 0)]
            )
        )
        #expect(self.link.engine.inputs == ["published \(PublishOutcome.rejected(.unreachable))"])
    }

    @Test("signals of the engine reach the owner")
    func signals() {
        self.perform(.signal("a"), .signal("b"))
        #expect(self.owner.signals == ["a", "b"])
    }
}
