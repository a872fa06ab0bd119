//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import TunnelProtocol

@Suite("NIP-74 dialect between our own nodes")
struct NIP74DialectTests {
    @Test("opens when the exit's target is connected, and carries both directions", arguments: 1...20)
    func carriesBoth(seed: Int) throws {
        var tunnel = SimulatedTunnel(relay: seed.isMultiple(of: 2) ? .batching : .immediate, seed: UInt64(seed))
        let id = tunnel.open(1, port: 8080)
        tunnel.advance(.milliseconds(500))
        #expect(tunnel.entryStreams[id]?.opened == true)
        let exitID = try #require(tunnel.exitStreams.keys.first)
        #expect(tunnel.exitStreams[exitID]?.request?.port == 8080)
        #expect(!tunnel.reports.contains(.fellBackToPlain))

        let up = patterned(400_000, seed: UInt64(seed) &* 3)
        let down = patterned(900_000, seed: UInt64(seed) &* 5)
        tunnel.sendAll(up, on: id, fromEntry: true)
        tunnel.sendAll(down, on: exitID, fromEntry: false)
        tunnel.advance(.seconds(5))
        #expect(tunnel.exitStreams[exitID]?.data == up)
        #expect(tunnel.entryStreams[id]?.data == down)
        #expect(tunnel.exitStreams[exitID]?.finished == true)
        #expect(tunnel.entryStreams[id]?.finished == true)
        #expect(tunnel.entryStreams[id]?.ended == .some(nil))
        #expect(tunnel.exitStreams[exitID]?.ended == .some(nil))
        #expect(tunnel.entry.isIdle)
        #expect(tunnel.exit.isIdle)
    }

    @Test("keeps order over a relay that sorts, past the ceiling of dates")
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

    @Test("a target that refuses is told as such")
    func refused() {
        var tunnel = SimulatedTunnel()
        tunnel.dial = { _ in .refused }
        let id = tunnel.open(1)
        #expect(tunnel.entryStreams[id]?.ended == .some(.refused))
        #expect(tunnel.entryStreams[id]?.opened == false)
    }

    @Test("half-close: one side finishes, the other goes on")
    func halfClose() throws {
        var tunnel = SimulatedTunnel()
        let id = tunnel.open(1)
        let exitID = try #require(tunnel.exitStreams.keys.first)
        tunnel.sendAll([1, 2, 3], on: id, fromEntry: true)
        #expect(tunnel.exitStreams[exitID]?.finished == true)
        #expect(tunnel.entryStreams[id]?.ended == nil)
        tunnel.sendAll([4, 5], on: exitID, fromEntry: false)
        #expect(tunnel.entryStreams[id]?.data == [4, 5])
        #expect(tunnel.entryStreams[id]?.ended == .some(nil))
    }

    @Test("a reset reaches the other side")
    func reset() throws {
        var tunnel = SimulatedTunnel()
        let id = tunnel.open(1)
        let exitID = try #require(tunnel.exitStreams.keys.first)
        tunnel.entry.reset(id, .connectionReset, at: tunnel.moment)
        tunnel.settle()
        #expect(tunnel.exitStreams[exitID]?.ended == .some(.connectionReset))
        #expect(tunnel.entry.streamCount == 0)
    }

    @Test("a reader that stops is reset at its bound, and others go on")
    func slowReader() throws {
        var tunnel = SimulatedTunnel()
        let slow = tunnel.open(1)
        let slowExit = try #require(tunnel.exitStreams.keys.first)
        tunnel.readersConsume = false
        tunnel.sendAll(patterned(6 << 20, seed: 3), on: slowExit, fromEntry: false, finish: false)
        #expect(tunnel.entryStreams[slow]?.ended == .some(.readerTooSlow))
        #expect(tunnel.exitStreams[slowExit]?.ended == .some(.readerTooSlow))
        #expect((tunnel.entryStreams[slow]?.data.count ?? 0) <= NIP74Configuration().receiveBuffer)
        tunnel.readersConsume = true
        let other = tunnel.open(2)
        tunnel.sendAll([9], on: other, fromEntry: true)
        #expect(tunnel.exitStreams.values.contains { $0.data == [9] })
    }

    @Test("refused messages are sent again in order, after a pause")
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

    @Test("a lost relay ends its streams rather than leave a hole")
    func relayLost() throws {
        var tunnel = SimulatedTunnel()
        let id = tunnel.open(1)
        tunnel.entry.removePath(SimulatedTunnel.path, at: tunnel.moment)
        tunnel.settle()
        #expect(tunnel.entryStreams[id]?.ended == .some(.relayLost))
    }

    @Test("no relay, or an exit that nobody has heard of")
    func noRelay() {
        var tunnel = SimulatedTunnel()
        tunnel.verdict = { _, _ in .rejected(.nobodyListens) }
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

    @Test("an exit that is on its way back is asked again, and dials once")
    func exitComesBack() {
        var tunnel = SimulatedTunnel()
        tunnel.verdict = { _, _ in .rejected(.nobodyListens) }
        let first = tunnel.open(1)
        tunnel.advance(.seconds(1))
        tunnel.verdict = { _, _ in .accepted(SimulatedTunnel.path) }
        tunnel.advance(.seconds(1))
        #expect(tunnel.entryStreams[first]?.opened == true)
        #expect(tunnel.exitStreams.count == 1)

        // Known to be ours: CONNECT is repeated even where the relay says nothing of it.
        let before = tunnel.published.count
        tunnel.dropsMessages = true
        let second = tunnel.open(2)
        tunnel.advance(.seconds(2))
        #expect(tunnel.published.count > before + 3)
        tunnel.dropsMessages = false
        tunnel.advance(.seconds(1))
        #expect(tunnel.entryStreams[second]?.opened == true)
        #expect(tunnel.exitStreams.count == 2)
        let settled = tunnel.published.count
        tunnel.advance(.seconds(10))
        #expect(tunnel.published.count == settled)
    }

    @Test("streams that wait for the grace go on waiting once another learns what the exit speaks")
    func learnsWhileWaiting() throws {
        var tunnel = SimulatedTunnel()
        tunnel.dropsMessages = true
        let first = tunnel.open(1)
        tunnel.advance(.milliseconds(200))
        let second = tunnel.open(2)
        let connect = try #require(tunnel.published.last)
        tunnel.dropsMessages = false
        tunnel.exit.receive(
            connect.plaintext,
            createdAt: connect.createdAt,
            path: SimulatedTunnel.path,
            at: tunnel.moment
        )
        tunnel.settle()
        #expect(tunnel.entryStreams[second]?.opened == true)
        tunnel.advance(.milliseconds(150))
        #expect(tunnel.entryStreams[first]?.ended == nil)
        tunnel.advance(.seconds(1))
        #expect(tunnel.entryStreams[first]?.opened == true)
        #expect(tunnel.exitStreams.count == 2)
    }

    @Test("pings keep an idle stream, and silence ends it")
    func idleness() {
        var tunnel = SimulatedTunnel()
        let id = tunnel.open(1)
        tunnel.advance(.minutes(30))
        #expect(tunnel.entryStreams[id]?.ended == nil)
        #expect(tunnel.exit.streamCount == 1)
        tunnel.verdict = { _, _ in .rejected(.refused) }
        tunnel.advance(.minutes(6))
        #expect(tunnel.entryStreams[id]?.ended == .some(.idle))
        #expect(tunnel.exit.streamCount == 0)
    }

    @Test("a stream on which only the exit sends outlives the idle time-out")
    func oneWay() throws {
        var tunnel = SimulatedTunnel()
        let id = tunnel.open(1)
        let exitID = try #require(tunnel.exitStreams.keys.first)
        for _ in 0..<90 {
            tunnel.exit.send(exitID, ByteBuffer(bytes: [1]), at: tunnel.moment)
            tunnel.advance(.seconds(10))
        }
        #expect(tunnel.entryStreams[id]?.ended == nil)
        #expect(tunnel.entryStreams[id]?.data.count == 90)
    }

    @Test("a full path at the ceiling of dates waits for room, and time goes on")
    func ceilingWhileUnwritable() throws {
        var tunnel = SimulatedTunnel(seed: 5, createdAtUpperLimit: 40)
        let id = tunnel.open(1)
        let exitID = try #require(tunnel.exitStreams.keys.first)
        // More messages at once than there are dates.
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

    @Test("credit is given once for bytes, however often they are refused")
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

    @Test("who speaks on a stream that is gone is told so")
    func unknownStream() throws {
        var tunnel = SimulatedTunnel()
        let id = tunnel.open(1)
        let exitID = try #require(tunnel.exitStreams.keys.first)
        // The exit forgets the stream without a word, as after a restart.
        tunnel.verdict = { byEntry, _ in byEntry ? .accepted(SimulatedTunnel.path) : .rejected(.refused) }
        tunnel.exit.reset(exitID, .shuttingDown, at: tunnel.moment)
        tunnel.settle()
        #expect(tunnel.entryStreams[id]?.ended == nil)
        tunnel.verdict = { _, _ in .accepted(SimulatedTunnel.path) }
        tunnel.advance(.seconds(61))
        #expect(tunnel.entryStreams[id]?.ended == .some(.connectionReset))
    }

    @Test("CONNECT that a relay refuses for being too fast is asked again")
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

    @Test("a second CONNECT, a stale one and one too many dial nothing")
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
            path: SimulatedTunnel.path,
            at: tunnel.moment
        )
        tunnel.settle()
        #expect(tunnel.reports.last == .staleConnect)
        for key in ["c", "d"] { tunnel.inject(NIP74Message(key: key, kind: .connect), toExit: true) }
        #expect(tunnel.exitStreams.count == 2)
        #expect(tunnel.reports.last == .tooManyStreams)
    }

    @Test("garbage is counted and ends nothing")
    func garbage() {
        var tunnel = SimulatedTunnel()
        let id = tunnel.open(1)
        let inputs = [
            "", "close", "{", "[]", "{\"key\":\"a\"}", "{\"key\":1,\"type\":\"DATA\"}",
            "{\"key\":\"\",\"type\":\"DATA\"}",
        ]
        for text in inputs {
            tunnel.entry.receive(Array(text.utf8), createdAt: 0, path: SimulatedTunnel.path, at: tunnel.moment)
            tunnel.exit.receive(Array(text.utf8), createdAt: 0, path: SimulatedTunnel.path, at: tunnel.moment)
        }
        tunnel.settle()
        #expect(tunnel.reports.filter { $0 == .malformedMessage }.count == inputs.count * 2)
        tunnel.inject(NIP74Message(key: "zz", kind: .reset), toExit: true)
        tunnel.inject(NIP74Message(key: "zz", kind: .data), toExit: false)
        tunnel.inject(NIP74Message(key: "zz", kind: .accept), toExit: true)
        tunnel.inject(NIP74Message(key: "zz", kind: .connectReverse), toExit: true)
        #expect(tunnel.entryStreams[id]?.ended == nil)
        #expect(tunnel.exit.streamCount == 1)
    }
}
