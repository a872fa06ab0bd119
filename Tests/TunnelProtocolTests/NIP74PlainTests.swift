//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TestSupport
import Testing

@testable import TunnelProtocol

@Suite("NIP-74 with the reference")
struct NIP74PlainTests {
    /// A CONNECT message as the reference implementation sends it.
    static func connect(_ key: String = "a") -> NIP74Message {
        NIP74Message(key: key, kind: .connect, destination: "x.nostr")
    }

    @Test("an exit answers in the client's message type, paced, and ends with a close message")
    func exitToReference() throws {
        var tunnel = SimulatedTunnel()
        tunnel.inject(Self.connect(), toExit: true)
        tunnel.inject(
            NIP74Message(key: "a", kind: .socks5Response, payload: .bytes(Array("GET".utf8)), destination: "x.nostr"),
            toExit: true
        )
        let id = try #require(tunnel.exitStreams.keys.first)
        #expect(tunnel.exitStreams[id]?.data == Array("GET".utf8))
        let down = patterned(100_000, seed: 8)
        tunnel.sendAll(down, on: id, fromEntry: false)
        tunnel.advance(.seconds(10))
        let sent = tunnel.published.filter { !$0.byEntry }
        let messages = sent.compactMap { NIP74Message(plaintext: $0.plaintext) }
        #expect(messages.count == 4)
        #expect(messages.allSatisfy { $0.kind == .socks5Response && $0.destination.hasPrefix("nprofile1") })
        let data = messages.flatMap { message -> [UInt8] in
            if case .bytes(let bytes)? = message.payload { bytes } else { [] }
        }
        #expect(data == down)
        // The reference reads at most 32,768 bytes at a time and polls every 100 ms.
        for message in messages {
            if case .bytes(let bytes)? = message.payload { #expect(bytes.count <= 30_555) }
        }
        for (earlier, later) in zip(sent, sent.dropFirst()) {
            #expect(later.at - earlier.at >= .milliseconds(150))
            #expect(later.createdAt > earlier.createdAt || later.at - earlier.at >= .milliseconds(250))
        }
        #expect(sent.last?.plaintext == ByteBuffer(bytes: NIP74Configuration.plainCloseMessage))
        #expect(tunnel.exitStreams[id]?.ended == .some(nil))
    }

    @Test("an exit repeats its first answer until the client is subscribed, in order and for 3 s")
    func lateSubscription() throws {
        for subscribes in [true, false] {
            var tunnel = SimulatedTunnel()
            tunnel.inject(Self.connect(), toExit: true)
            let id = try #require(tunnel.exitStreams.keys.first)
            tunnel.verdict = { _, _ in .rejected(.noSubscriber) }
            tunnel.sendAll([1, 2], on: id, fromEntry: false, finish: false)
            tunnel.advance(.milliseconds(500))
            tunnel.sendAll([3], on: id, fromEntry: false, finish: false)
            #expect(tunnel.exitStreams[id]?.ended == nil)
            let repetitions = tunnel.published.filter { !$0.byEntry }.count
            #expect(repetitions == 4)
            if subscribes { tunnel.verdict = { _, _ in .accepted(SimulatedTunnel.path) } }
            tunnel.advance(.seconds(3))
            let last = try #require(tunnel.published.last { NIP74Message(plaintext: $0.plaintext) != nil })
            #expect(NIP74Message(plaintext: last.plaintext)?.payload == .bytes([1, 2, 3]))
            #expect(tunnel.published.filter { !$0.byEntry }.count <= 8)
            #expect(tunnel.exitStreams[id]?.ended == (subscribes ? nil : .some(.relayRefused)))
            #expect(!tunnel.reports.contains(.backedOff))
        }
    }

    @Test("a client that sends DATA is answered with DATA")
    func mirrorsData() throws {
        var tunnel = SimulatedTunnel()
        tunnel.inject(Self.connect(), toExit: true)
        tunnel.inject(NIP74Message(key: "a", kind: .data, payload: .bytes([1])), toExit: true)
        let id = try #require(tunnel.exitStreams.keys.first)
        tunnel.sendAll([2], on: id, fromEntry: false, finish: false)
        tunnel.advance(.seconds(1))
        #expect(NIP74Message(plaintext: try #require(tunnel.published.last).plaintext)?.kind == .data)
    }

    @Test("data inside CONNECT is accepted, also in the text form of the NIP's example")
    func textForm() throws {
        var tunnel = SimulatedTunnel()
        let text = #"{"key":"3b1f09a8","type":"CONNECT","data":"GET /hello HTTP/1.1","destination":"google.com"}"#
        tunnel.exit.receive(
            Array(text.utf8),
            createdAt: tunnel.moment.seconds,
            generation: 0,
            path: SimulatedTunnel.path,
            at: tunnel.moment
        )
        tunnel.settle()
        let id = try #require(tunnel.exitStreams.keys.first)
        // Once a stream uses the text form, data that looks like base64 is still text.
        let more = #"{"key":"3b1f09a8","type":"DATA","data":"abcd"}"#
        tunnel.exit.receive(
            Array(more.utf8),
            createdAt: 0,
            generation: 0,
            path: SimulatedTunnel.path,
            at: tunnel.moment
        )
        tunnel.settle()
        #expect(tunnel.exitStreams[id]?.data == Array("GET /hello HTTP/1.1abcd".utf8))
    }

    @Test("SOCKS5RESPONSE data that is not base64 ends the stream")
    func strictBase64() throws {
        var tunnel = SimulatedTunnel()
        tunnel.inject(Self.connect(), toExit: true)
        let id = try #require(tunnel.exitStreams.keys.first)
        let bad = #"{"key":"a","type":"SOCKS5RESPONSE","data":"not base64!"}"#
        tunnel.exit.receive(Array(bad.utf8), createdAt: 0, generation: 0, path: SimulatedTunnel.path, at: tunnel.moment)
        tunnel.settle()
        #expect(tunnel.exitStreams[id]?.ended == .some(.protocolViolation))
    }

    @Test("data that a sorting relay delivers before its CONNECT is kept for a short time")
    func orphans() throws {
        var tunnel = SimulatedTunnel()
        tunnel.inject(NIP74Message(key: "a", kind: .socks5Response, payload: .bytes([1, 2])), toExit: true)
        #expect(tunnel.exitStreams.isEmpty)
        tunnel.inject(Self.connect(), toExit: true)
        let id = try #require(tunnel.exitStreams.keys.first)
        #expect(tunnel.exitStreams[id]?.data == [1, 2])
        tunnel.inject(NIP74Message(key: "b", kind: .data, payload: .bytes([3])), toExit: true)
        tunnel.advance(.seconds(3))
        #expect(tunnel.reports == [.unknownStream])
        tunnel.inject(Self.connect("b"), toExit: true)
        #expect(tunnel.exitStreams.values.allSatisfy { $0.data != [3] })
    }

    @Test("data goes to every relay until a plain exit answers, then only to the relay of the answer")
    func severalRelays() throws {
        let description = PathDescription(relay: "ws://r.example", maximumPlaintext: 40_960, createdAtUpperLimit: nil)
        let paths = [PathID(rawValue: 0), PathID(rawValue: 1)]
        var entry = NIP74StateMachine(role: .entry(name: "x.nostr"), generator: SeededGenerator(seed: 1))
        var now = Moment(monotonic: .uptimeNanoseconds(1_000_000_000), seconds: 1_800_000_000)
        for path in paths { entry.addPath(path, description, at: now) }
        func later(_ milliseconds: Int64) -> Moment {
            Moment(monotonic: now.monotonic + .milliseconds(milliseconds), seconds: now.seconds)
        }
        func published() -> (MessageToken, NIP74Message?, [PathID])? {
            while let action = entry.nextAction() {
                if case .publish(let token, let plaintext, _, let targets, _, _) = action {
                    return (token, NIP74Message(plaintext: plaintext), targets)
                }
            }
            return nil
        }
        let id = StreamID(rawValue: 1)
        entry.open(id, SimulatedTunnel.request, paths: paths, at: now)
        let (connect, first, connectTargets) = try #require(published())
        #expect(connectTargets == paths)
        entry.published(connect, .accepted(paths[0]), at: now)
        now = later(301)
        entry.timeout(at: now)
        entry.send(id, ByteBuffer(bytes: [1]), at: now)
        let (data, _, dataTargets) = try #require(published())
        #expect(dataTargets == paths)
        entry.published(data, .accepted(paths[0]), at: now)
        let key = try #require(first?.key)
        entry.receive(
            NIP74Message(key: key, kind: .socks5Response, payload: .bytes([2])).encoded(),
            createdAt: now.seconds,
            generation: 0,
            path: paths[1],
            at: now
        )
        now = later(200)
        entry.send(id, ByteBuffer(bytes: [3]), at: now)
        entry.timeout(at: now)
        let (_, _, answeredTargets) = try #require(published())
        #expect(answeredTargets == [paths[1]])
    }

    @Test("an entry opens a plain stream 300 ms after a relay accepted CONNECT")
    func entryToReference() throws {
        var tunnel = SimulatedTunnel()
        tunnel.verdict = { _, _ in .accepted(SimulatedTunnel.path) }
        let id = StreamID(rawValue: 1)
        tunnel.entryStreams[id] = .init()
        tunnel.entry.open(id, SimulatedTunnel.request, paths: [SimulatedTunnel.path], at: tunnel.moment)
        guard case .publish(let token, let plaintext, _, _, _, _)? = tunnel.entry.nextAction() else {
            Issue.record("CONNECT was not published")
            return
        }
        let connect = try #require(NIP74Message(plaintext: plaintext))
        #expect(connect.kind == .connect)
        #expect(connect.payload == nil)
        #expect(connect.destination == "x.nostr")
        tunnel.entry.published(token, .accepted(SimulatedTunnel.path), at: tunnel.moment)
        tunnel.advance(.milliseconds(299))
        #expect(tunnel.entryStreams[id]?.opened == false)
        tunnel.advance(.milliseconds(2))
        #expect(tunnel.entryStreams[id]?.opened == true)
        #expect(tunnel.reports.isEmpty)
    }
}
