//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import TunnelProtocol

@Suite("NIP-74")
struct NIP74StateMachineTests {
    @Test("data stays in order on a relay that sorts events, and created_at stays 30 s below the relay's limit")
    func ceiling() throws {
        var tunnel = SimulatedTunnel(relay: .batching, seed: 7, createdAtUpperLimit: 60)
        let id = tunnel.open(1)
        tunnel.advance(.seconds(1))
        let exitID = try #require(tunnel.exitStreams.keys.first)
        let down = patterned(6_000_000, seed: 9)
        tunnel.sendAll(down, on: exitID, fromEntry: false)
        tunnel.advance(.seconds(60))
        #expect(tunnel.entryStreams[id]?.data == down)
        let ahead = tunnel.published.map {
            $0.createdAt - 1_800_000_000 - Int64($0.at.uptimeNanoseconds / 1_000_000_000)
        }
        #expect(ahead.max() ?? 0 <= 30)
        #expect(ahead.max() ?? 0 > 20)
    }

    @Test("a stream is reset when its receive buffer is full, and other streams continue")
    func slowReader() throws {
        var tunnel = SimulatedTunnel()
        let slow = tunnel.open(1)
        let slowExit = try #require(tunnel.exitStreams.keys.first)
        tunnel.readersConsume = false
        tunnel.sendAll(patterned(6 << 20, seed: 3), on: slowExit, fromEntry: false, finish: false)
        #expect(tunnel.entryStreams[slow]?.ended == .some(.readerTooSlow))
        #expect((tunnel.entryStreams[slow]?.data.count ?? 0) <= NIP74Configuration().receiveBuffer)
        tunnel.readersConsume = true
        let other = tunnel.open(2)
        tunnel.sendAll([9], on: other, fromEntry: true)
        #expect(tunnel.exitStreams.values.contains { $0.data == [9] })
    }

    @Test("messages rejected with rate-limited are resent in order after a pause")
    func rateLimited() throws {
        var tunnel = SimulatedTunnel()
        _ = tunnel.open(1)
        let id = StreamID(rawValue: 1)
        let exitID = try #require(tunnel.exitStreams.keys.first)
        tunnel.verdict = { byEntry, _ in byEntry ? .rejected(.rateLimited) : .accepted(SimulatedTunnel.path) }
        let up = patterned(200_000, seed: 4)
        tunnel.sendAll(up, on: id, fromEntry: true)
        #expect(tunnel.exitStreams[exitID]?.data.isEmpty == true)
        #expect(tunnel.reports.contains(.backedOff))
        tunnel.verdict = { _, _ in .accepted(SimulatedTunnel.path) }
        tunnel.advance(.seconds(40))
        #expect(tunnel.exitStreams[exitID]?.data == up)
    }

    @Test("losing the relay ends its streams, because messages may be missing")
    func relayLost() throws {
        var tunnel = SimulatedTunnel()
        let id = tunnel.open(1)
        tunnel.entry.removePath(SimulatedTunnel.path, at: tunnel.moment)
        tunnel.settle()
        #expect(tunnel.entryStreams[id]?.ended == .some(.relayLost))
    }

    @Test("an exit that loses a stream's relay does not close the stream, which would look complete, on another one")
    func exitLosesRelay() throws {
        var tunnel = SimulatedTunnel()
        let id = tunnel.open(1)
        tunnel.sendAll([1, 2, 3], on: id, fromEntry: true)
        #expect(tunnel.exit.streamCount == 1)
        let other = PathDescription(
            relay: "ws://other.example",
            maximumPlaintext: NIP74Configuration.maximumPlaintext,
            createdAtUpperLimit: nil
        )
        tunnel.exit.addPath(PathID(rawValue: 1), other, at: tunnel.moment)
        let before = tunnel.published.count
        tunnel.exit.removePath(SimulatedTunnel.path, at: tunnel.moment)
        tunnel.settle()
        #expect(tunnel.exit.streamCount == 0)
        #expect(tunnel.published.count == before)
        #expect(tunnel.entryStreams[id]?.finished == false)
    }

    @Test("opening a stream fails if there is no relay or if the exit does not answer")
    func noRelay() {
        var tunnel = SimulatedTunnel()
        tunnel.verdict = { _, _ in .rejected(.noSubscriber) }
        let silent = tunnel.open(1)
        tunnel.advance(.seconds(2))
        #expect(tunnel.entryStreams[silent]?.ended == nil)
        tunnel.advance(.seconds(2))
        #expect(tunnel.entryStreams[silent]?.ended == .some(.exitSilent))
        tunnel.verdict = { _, _ in .rejected(.unreachable) }
        #expect(tunnel.entryStreams[tunnel.open(2)]?.ended == .some(.noRelay))
        tunnel.entry.removePath(SimulatedTunnel.path, at: tunnel.moment)
        #expect(tunnel.entryStreams[tunnel.open(3)]?.ended == .some(.noRelay))
    }

    @Test("a stream whose first bytes are not answered ends with an error, sooner if the exit has never sent anything")
    func unanswered() throws {
        var tunnel = SimulatedTunnel()
        let first = tunnel.open(1)
        tunnel.sendAll([1, 2, 3], on: first, fromEntry: true, finish: false)
        tunnel.advance(.seconds(29))
        #expect(tunnel.entryStreams[first]?.ended == nil)
        tunnel.advance(.seconds(2))
        #expect(tunnel.entryStreams[first]?.ended == .some(.exitSilent))

        let answered = tunnel.open(2)
        let atExit = try #require(tunnel.exitStreams.keys.max { $0.rawValue < $1.rawValue })
        tunnel.sendAll([4], on: atExit, fromEntry: false, finish: false)
        tunnel.advance(.seconds(1))
        #expect(tunnel.entryStreams[answered]?.data == [4])
        let id = tunnel.open(3)
        tunnel.advance(.seconds(5))
        tunnel.sendAll([1, 2, 3], on: id, fromEntry: true, finish: false)
        tunnel.advance(.seconds(59))
        #expect(tunnel.entryStreams[id]?.ended == nil)
        tunnel.advance(.seconds(2))
        #expect(tunnel.entryStreams[id]?.ended == .some(.exitSilent))
    }

    @Test("an upload that takes long does not end before the exit had time to answer its last bytes")
    func longUpload() {
        var tunnel = SimulatedTunnel()
        let id = tunnel.open(1)
        for _ in 0..<20 {
            tunnel.sendAll([1, 2, 3], on: id, fromEntry: true, finish: false)
            tunnel.advance(.seconds(10))
        }
        #expect(tunnel.entryStreams[id]?.ended == nil)
        tunnel.advance(.seconds(19))
        #expect(tunnel.entryStreams[id]?.ended == nil)
        tunnel.advance(.seconds(2))
        #expect(tunnel.entryStreams[id]?.ended == .some(.exitSilent))
    }

    @Test("a stream that was answered once may be silent for longer")
    func answered() throws {
        var tunnel = SimulatedTunnel()
        let id = tunnel.open(1)
        let exitID = try #require(tunnel.exitStreams.keys.first)
        tunnel.sendAll([1], on: id, fromEntry: true, finish: false)
        tunnel.sendAll([2], on: exitID, fromEntry: false, finish: false)
        tunnel.advance(.minutes(4))
        #expect(tunnel.entryStreams[id]?.data == [2])
        #expect(tunnel.entryStreams[id]?.ended == nil)
    }

    @Test("an exit delivers what it sent before a reset after delivery, then closes")
    func resetAfterDelivery() throws {
        var tunnel = SimulatedTunnel(relay: .batching)
        let id = tunnel.open(1)
        tunnel.advance(.seconds(1))
        let exitID = try #require(tunnel.exitStreams.keys.first)
        let down = patterned(150_000, seed: 9)
        tunnel.exit.send(exitID, ByteBuffer(bytes: down), at: tunnel.moment)
        tunnel.exit.resetAfterDelivery(exitID, .connectionReset, at: tunnel.moment)
        tunnel.settle()
        tunnel.sendAll([1], on: id, fromEntry: true, finish: false)
        tunnel.advance(.seconds(20))
        #expect(tunnel.entryStreams[id]?.data == down)
        #expect(tunnel.exitStreams[exitID]?.data == [])
        #expect(tunnel.exitStreams[exitID]?.ended != nil)
        #expect(tunnel.exit.streamCount == 0)
    }

    @Test("a path that is not writable at the created_at limit resumes once it is writable")
    func ceilingWhileUnwritable() throws {
        var tunnel = SimulatedTunnel(seed: 5, createdAtUpperLimit: 40)
        let id = tunnel.open(1)
        let exitID = try #require(tunnel.exitStreams.keys.first)
        // More messages at once than there are seconds left below the created_at limit.
        tunnel.exit.send(exitID, ByteBuffer(bytes: patterned(1_000_000, seed: 2)), at: tunnel.moment)
        tunnel.settle()
        tunnel.exit.setWritable(SimulatedTunnel.path, false, at: tunnel.moment)
        tunnel.advance(.seconds(5))
        let stuck = tunnel.entryStreams[id]?.data.count ?? 0
        #expect(stuck < 1_000_000)
        tunnel.exit.setWritable(SimulatedTunnel.path, true, at: tunnel.moment)
        tunnel.advance(.seconds(5))
        #expect(tunnel.entryStreams[id]?.data == patterned(1_000_000, seed: 2))
    }

    @Test("resending rejected messages does not grant credit twice")
    func creditOnce() throws {
        var tunnel = SimulatedTunnel()
        let id = tunnel.open(1)
        tunnel.verdict = { _, _ in .rejected(.rateLimited) }
        let up = patterned(200_000, seed: 4)
        tunnel.sendAll(up, on: id, fromEntry: true, finish: false)
        tunnel.advance(.seconds(20))
        let credit = try #require(tunnel.entryStreams[id]?.credit)
        #expect(credit <= NIP74Configuration().sendBuffer)
    }

    @Test("CONNECT is resent after a relay rejects it with rate-limited")
    func connectBacksOff() {
        var tunnel = SimulatedTunnel()
        tunnel.verdict = { _, _ in .rejected(.rateLimited) }
        let id = tunnel.open(1)
        tunnel.advance(.milliseconds(500))
        #expect(tunnel.entryStreams[id]?.ended == nil)
        tunnel.verdict = { _, _ in .accepted(SimulatedTunnel.path) }
        tunnel.advance(.seconds(2))
        #expect(tunnel.entryStreams[id]?.opened == true)
        #expect(tunnel.exitStreams.count == 1)
    }

    @Test("a duplicate CONNECT, a stale CONNECT and one beyond the stream limit are ignored")
    func refusedConnects() {
        var configuration = NIP74Configuration()
        configuration.streams = 2
        var tunnel = SimulatedTunnel(configuration: configuration)
        let message = NIP74Message(key: "a", kind: .connect, destination: "x.nostr")
        tunnel.inject(message, toExit: true)
        tunnel.inject(message, toExit: true)
        #expect(tunnel.exitStreams.count == 1)
        #expect(tunnel.reports == [.duplicateConnect])
        tunnel.exit.receive(
            NIP74Message(key: "b", kind: .connect).encoded(),
            createdAt: tunnel.moment.seconds - 121,
            generation: 0,
            path: SimulatedTunnel.path,
            at: tunnel.moment
        )
        tunnel.settle()
        #expect(tunnel.reports.last == .staleConnect)
        for key in ["c", "d"] { tunnel.inject(NIP74Message(key: key, kind: .connect), toExit: true) }
        #expect(tunnel.exitStreams.count == 2)
        #expect(tunnel.reports.last == .tooManyStreams)
    }
}
