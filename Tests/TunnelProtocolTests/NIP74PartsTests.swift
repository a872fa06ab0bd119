//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import TunnelProtocol

@Suite("Parts of the NIP-74 state machine")
struct NIP74PartsTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    private static func message(_ key: String, bytes: Int = 0) -> NIP74Message {
        NIP74Message(
            key: key,
            kind: .data,
            payload: .bytes([UInt8](repeating: 0, count: bytes)),
            destination: "x.nostr"
        )
    }

    @Test("a date from a peer may be any number, and is recent only within the window")
    func datesOfPeers() {
        let now: Int64 = 1_800_000_000
        for date in [now, now - 120, now + 900] { #expect(NIP74Configuration.isRecent(date, at: now)) }
        for date in [now - 121, now + 901, 0, -1, Int64.min, Int64.max] {
            #expect(!NIP74Configuration.isRecent(date, at: now))
        }
    }

    @Test("the oldest ended streams are forgotten, with whether they became sessions")
    func ended() {
        var ended = EndedStreams(limit: 2)
        ended.insert("a", becameSession: true)
        ended.insert("b")
        ended.insert("b")
        #expect(ended.contains("a"))
        #expect(ended.becameSession("a"))
        ended.insert("c")
        #expect(!ended.contains("a"))
        #expect(!ended.becameSession("a"))
        #expect(ended.contains("b"))
    }

    @Test("early messages are kept in order, up to a number of bytes, and for some time")
    func early() {
        var early = EarlyMessages(limit: 10_000, lifetime: .seconds(5))
        let kept = [
            early.insert(Self.message("a", bytes: 1), at: Self.start),
            early.insert(Self.message("b", bytes: 2), at: Self.start + .seconds(1)),
            early.insert(Self.message("a", bytes: 3), at: Self.start + .seconds(2)),
            early.insert(Self.message("c", bytes: 10_000), at: Self.start),
        ]
        #expect(kept == [true, true, true, false])
        #expect(early.contains("a"))
        let own = early.remove("a")
        #expect(own.map(\.payload) == [.bytes([0]), .bytes([0, 0, 0])])
        #expect(!early.contains("a"))
        // The room of removed messages is free again.
        let fits = early.insert(Self.message("c", bytes: 9_000), at: Self.start + .seconds(3))
        #expect(fits)
        #expect(early.nextDeadline == Self.start + .seconds(6))
        let expired = early.expire(at: Self.start + .seconds(6))
        #expect(expired == 1)
        #expect(early.nextDeadline == Self.start + .seconds(8))
        #expect(!early.contains("b"))
    }

    @Test("dates ascend while messages may share a batch, and pause at the limit of the relay")
    func dates() {
        let horizon = TimeAmount.milliseconds(500)
        let dates = MessageDates(isEntry: true, deliveryHorizon: horizon)
        let path = NIP74Path(
            description: PathDescription(
                relay: "ws://relay.example",
                maximumPlaintext: 40_960,
                createdAtUpperLimit: NIP74Configuration.aheadMargin + 2
            ),
            destination: "x.nostr"
        )
        #expect(path.maximumAhead == 2)
        var now = Moment(monotonic: Self.start, seconds: 100)
        var stream = NIP74Stream(
            id: StreamID(rawValue: 1),
            key: "a",
            path: PathID(rawValue: 0),
            phase: .open,
            now: Self.start
        )
        var seen: [Int64?] = []
        for _ in 0..<4 {
            let date = dates.next(of: &stream, on: path, at: now)
            seen.append(date)
            guard let date else { break }
            stream.lastDate = date
            stream.lastPublished = now.monotonic
        }
        #expect(seen == [100, 101, 102, nil])
        // Dates start again when everything was delivered.
        now = Moment(monotonic: Self.start + horizon, seconds: 100)
        #expect(dates.next(of: &stream, on: path, at: now) == 100)
    }

    @Test("an exit dates its answers not before the newest event of the entry, within the limit")
    func datesOfAnExit() {
        var dates = MessageDates(isEntry: false, deliveryHorizon: .milliseconds(500))
        let now = Moment(monotonic: Self.start, seconds: 100)
        dates.received(150)
        dates.received(120)
        #expect(dates.ofControl(after: 0, at: now) == 150)
        #expect(dates.ofControl(after: 160, at: now) == 161)
        dates.received(1_000_000)
        #expect(dates.ofControl(after: 0, at: now) == 100 + Int64(NIP74Configuration.maximumAhead))
    }

    @Test("the stream table finds a stream by its UUID and its messages, until it ends")
    func table() {
        var table = NIP74StreamTable(rememberedStreams: 8)
        let id = StreamID(rawValue: 1)
        let token = MessageToken(rawValue: 5)
        table.insert(
            NIP74Stream(id: id, key: "a", path: PathID(rawValue: 0), phase: .connecting(token), now: Self.start)
        )
        table.own(token, id)
        #expect(table["a"] == id)
        #expect(table.only == id)
        #expect(table.isKnown("a"))
        table.remove(id)
        #expect(table["a"] == nil)
        #expect(table.isKnown("a"))
        let owner = table.takeOwner(of: token)
        #expect(owner == nil)
        #expect(table.isEmpty)
    }
}
