//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import Testing

@testable import TunnelProtocol

@Suite("Sessions")
struct SessionTests {
    private typealias Weather = SimulatedSession.Weather

    private static func ended(_ session: SimulatedSession, _ id: StreamID) -> Bool {
        session.streams.allSatisfy { $0[id]?.ended != nil }
    }

    @Test("a transfer completes with 30% packet loss, duplicates and reordering", arguments: 1...10)
    func heavyLoss(seed: Int) {
        let weather = Weather(loss: 0.3, duplication: 0.1, delay: .milliseconds(5), jitter: .milliseconds(30))
        let session = SimulatedSession(seed: UInt64(seed), weather: [weather])
        let (up, down) = (patterned(1_000_000, seed: 1), patterned(1_500_000, seed: 2))
        session.dial = { _, _ in .success(down) }
        let id = session.open(1, sending: up)
        let isDone = session.run(for: .seconds(300)) { Self.ended(session, id) }
        #expect(isDone)
        #expect(session.streams[0][id]?.data == down)
        #expect(session.streams[1][id]?.data == up)
    }

    private static func offer(_ path: Int) -> SessionPathOffer {
        SessionPathOffer(path: PathID(rawValue: path), relay: "wss://relay.example")
    }

    private static func offers(_ session: SimulatedSession, _ end: Int) -> [SessionPathOffer] {
        session.signals[end].compactMap { if case .pathOffered(let offer) = $0 { offer } else { nil } }
    }

    @Test("a relay that the exit adds during a session reaches the client when packets are lost", arguments: 1...5)
    func pathOffers(seed: Int) {
        let weather = Weather(loss: 0.3, delay: .milliseconds(5))
        let session = SimulatedSession(seed: UInt64(seed), weather: [weather])
        session.ends[1].offerPath(Self.offer(11), at: session.moment)
        session.settle()
        let isDone = session.run(for: .seconds(60)) { !Self.offers(session, 0).isEmpty }
        #expect(isDone)
        #expect(Set(Self.offers(session, 0)) == [Self.offer(11)])
        #expect(session.reports[.protocolViolation] == nil)
    }

    @Test("a path offered by the client is a protocol violation")
    func clientOffersNoPath() {
        let session = SimulatedSession(seed: 1, weather: [Weather()])
        session.ends[0].offerPath(Self.offer(3), at: session.moment)
        session.settle()
        _ = session.run(for: .seconds(1))
        #expect(session.reports[.protocolViolation] == 1)
    }

    @Test("a relay that sorts batches of events causes few retransmissions and full throughput")
    func batches() {
        let session = SimulatedSession(seed: 3, weather: [Weather(delay: .milliseconds(2), batches: true)])
        let down = patterned(30_000_000, seed: 4)
        session.dial = { _, _ in .success(down) }
        let id = session.open(1)
        let start = session.now
        let isDone = session.run(for: .seconds(60)) { Self.ended(session, id) }
        #expect(isDone)
        #expect(session.streams[0][id]?.data == down)
        let rate = 30_000_000.0 / (Double((session.now - start).nanoseconds) / 1e9)
        #expect(rate > 8_000_000, "\(rate) bytes per second over a relay that delays up to 100 ms each way")
        // Retransmissions and overhead stay below 10%.
        let sent = session.published.filter { $0.by == 1 }.map(\.size).reduce(0, +)
        #expect(sent < 33_000_000)
    }

    @Test("three relays with a rate limit carry nearly three times as much as one")
    func rateLimits() {
        func duration(_ relays: Int, seed: UInt64) -> Double {
            let weather = Weather(delay: .milliseconds(1), eventsPerSecond: 50)
            let session = SimulatedSession(seed: seed, weather: .init(repeating: weather, count: relays))
            let down = patterned(60_000_000, seed: 6)
            session.dial = { _, _ in .success(down) }
            let id = session.open(1)
            let start = session.now
            let isDone = session.run(for: .seconds(300)) { Self.ended(session, id) }
            #expect(isDone)
            #expect(session.streams[0][id]?.data == down)
            return Double((session.now - start).nanoseconds) / 1e9
        }
        let one = duration(1, seed: 5)
        // The median, because what the relays refuse at the beginning depends on chance.
        let three = (UInt64(5)...7).map { duration(3, seed: $0) }.sorted()[1]
        // Three relays take longer to learn their limits, of which each loses about a second.
        #expect(one / three >= 2.1, "\(one) s and \(three) s")
        // One relay is used to at least 75% of its limit of 50 events (of 40,960 bytes) per second.
        #expect(60_000_000 / one > 0.75 * 50 * 40_960, "\(one) s")
        #expect(60_000_000 / three > 0.75 * 3 * 50 * 40_960, "\(three) s")
    }

    @Test("a stream survives the loss of all relays for a minute")
    func outage() {
        let session = SimulatedSession(seed: 7, weather: [Weather(), Weather()])
        let down = patterned(2_000_000, seed: 8)
        session.dial = { _, _ in .success(down) }
        let id = session.open(1)
        session.run(for: .milliseconds(4))
        for path in 0...1 { for end in 0...1 { session.setUp(false, end: end, path: path) } }
        session.run(for: .seconds(60))
        #expect(session.streams[0][id]?.ended == nil)
        for path in 0...1 { for end in 0...1 { session.setUp(true, end: end, path: path) } }
        let start = session.now
        #expect(session.run(for: .seconds(10)) { Self.ended(session, id) })
        #expect(session.streams[0][id]?.data == down)
        #expect(session.now - start < .seconds(1))
    }

    @Test("packets in flight on a frozen relay are resent on another relay at once")
    func frozenRelay() {
        let session = SimulatedSession(
            seed: 9,
            weather: [Weather(delay: .milliseconds(5)), Weather(delay: .milliseconds(6))]
        )
        let down = patterned(20_000_000, seed: 10)
        session.dial = { _, _ in .success(down) }
        let id = session.open(1)
        session.run(for: .milliseconds(60))
        session.setFrozen(true, path: 0)
        let start = session.now
        #expect(session.run(for: .seconds(20)) { Self.ended(session, id) })
        #expect(session.streams[0][id]?.data == down)
        #expect(session.now - start < .seconds(2))
        session.setFrozen(false, path: 0)
        session.run(for: .seconds(40))
        #expect(session.ends.allSatisfy { $0.transport.paths[0].health == .active })
    }

    @Test("a stopped reader buffers at most its window and does not block other streams")
    func stoppedReader() {
        let session = SimulatedSession(seed: 11, weather: [Weather()])
        let down = patterned(4_000_000, seed: 12)
        session.dial = { _, _ in .success(down) }
        let slow = session.open(1) { $0.readsSlowly = true }
        session.run(for: .seconds(5))
        let held = session.streams[0][slow]?.unread ?? 0
        #expect(held == SessionConfiguration().openStreamWindow)
        #expect((session.streams[1][slow]?.sent ?? 0) <= held + SessionConfiguration().sendBuffer + 65_536)
        let other = session.open(2)
        #expect(session.run(for: .seconds(5)) { Self.ended(session, other) })
        #expect(session.streams[0][other]?.data == down)
        while session.streams[0][slow]?.ended == nil, session.streams[0][slow]?.unread != 0 {
            session.readEverything(slow, end: 0)
            session.run(for: .milliseconds(50))
        }
        session.readEverything(slow, end: 0)
        #expect(session.run(for: .seconds(5)) { Self.ended(session, slow) })
        #expect(session.streams[0][slow]?.data == down)
    }

    @Test("downloads share the bandwidth and do not delay the answers of new streams")
    func noBufferBloat() {
        let weather = Weather(delay: .microseconds(400), bytesPerSecond: 80_000_000)
        let session = SimulatedSession(seed: 13, weather: [weather])
        let bulk = patterned(60_000_000, seed: 14)
        session.dial = { id, _ in .success(id.rawValue <= 2 ? bulk : [1, 2, 3]) }
        let first = session.open(1)
        let second = session.open(2)
        session.run(for: .milliseconds(300))
        var waits: [Int64] = []
        for raw in UInt64(3)...22 {
            let start = session.now
            let id = session.open(raw, sending: [9])
            #expect(session.run(for: .seconds(1)) { session.streams[0][id]?.data == [1, 2, 3] })
            waits.append((session.now - start).nanoseconds)
            session.run(for: .milliseconds(5))
        }
        #expect(waits.sorted()[10] < 10_000_000, "\(waits.sorted()[10]) ns")
        let counts = [first, second].map { Double(session.streams[0][$0]?.data.count ?? 0) }
        #expect(counts[0] / counts[1] < 1.3 && counts[1] / counts[0] < 1.3, "\(counts)")
        let seconds = Double(session.now.uptimeNanoseconds) / 1e9 - 1
        #expect((counts[0] + counts[1]) / seconds > 0.7 * 80_000_000)
    }

    @Test("large packets are used if the relay accepts them, and otherwise only probed a few times")
    func packetSizes() {
        for (limit, most) in [(nil, Int.max), ((40_960, true), 1), ((40_960, false), 3)] as [((Int, Bool)?, Int)] {
            var weather = Weather(delay: .milliseconds(1), bytesPerSecond: 80_000_000)
            weather.largestPacket = limit
            let session = SimulatedSession(seed: 22, weather: [weather])
            let data = patterned(20_000_000, seed: 23)
            session.dial = { _, _ in .success(data) }
            let id = session.open(1)
            #expect(session.run(for: .seconds(10)) { session.streams[0][id]?.data.count == data.count })
            #expect(session.streams[0][id]?.data == data)
            let large = session.published.filter { $0.size > 40_960 }.count
            #expect(large <= most)
            #expect(most < .max ? large > 0 : large > session.published.filter { $0.size > 30_000 }.count / 2)
            #expect(session.published.allSatisfy { $0.size <= 65_535 })
            // Rejecting a packet for its size must not pause the relay.
            let seconds = Double(session.now.uptimeNanoseconds) / 1e9 - 1
            #expect(seconds < 0.6, "\(seconds) s with \(String(describing: limit))")
        }
    }

    @Test(
        "packets become smaller if a relay does not declare its limit on their size",
        arguments: [
            (32_768, true), (10_000, true), (4_096, true), (2_500, true), (2_048, true), (32_768, false),
            (10_000, false),
        ]
    )
    func undeclaredLimit(limit: Int, refuses: Bool) {
        var weather = Weather(delay: .milliseconds(20), bytesPerSecond: 10_000_000)
        weather.largestPacket = (limit, refuses)
        let session = SimulatedSession(seed: 22, weather: [weather])
        let data = patterned(2_000_000, seed: 23)
        session.dial = { _, _ in .success(data) }
        let id = session.open(1)
        #expect(session.run(for: .seconds(60)) { session.streams[0][id]?.data.count == data.count })
        #expect(session.streams[0][id]?.data == data)
        let tooLarge = session.published.filter { $0.size > limit }
        #expect(tooLarge.count < 100)
        let seconds = Double(session.now.uptimeNanoseconds) / 1e9 - 1
        #expect(seconds < (refuses ? 2 : 20), "\(seconds) s, \(tooLarge.count) packets too large")
    }

    @Test("a session returns to small packets when the relay stops delivering large ones")
    func smallerPackets() {
        let fast = Weather(delay: .milliseconds(1), bytesPerSecond: 80_000_000)
        let session = SimulatedSession(seed: 24, weather: [fast])
        let data = patterned(40_000_000, seed: 25)
        session.dial = { _, _ in .success(data) }
        let id = session.open(1)
        session.run(for: .seconds(10)) { (session.streams[0][id]?.data.count ?? 0) > 10_000_000 }
        #expect(session.published.contains { $0.size > 40_960 })
        var small = fast
        small.largestPacket = (40_960, false)
        session.setWeather(small, path: 0)
        #expect((session.streams[0][id]?.data.count ?? 0) < 20_000_000)
        #expect(session.run(for: .seconds(3)) { session.streams[0][id]?.data.count == data.count })
        #expect(session.streams[0][id]?.data == data)
    }

    @Test("small writes are coalesced only while a packet is in flight")
    func coalescing() {
        let session = SimulatedSession(seed: 15, weather: [Weather(delay: .milliseconds(10))])
        let id = session.open(1) { $0.finishesAfterSending = false }
        session.run(for: .milliseconds(200))
        let before = session.published.filter { $0.by == 0 }.count
        func write(_ byte: UInt8) {
            session.ends[0].send(id, ByteBuffer(bytes: [byte]), at: session.moment)
            session.settle()
        }
        // What is written in one turn of the driver is sent together, also if nothing is in flight.
        write(1)
        write(1)
        #expect(session.published.filter { $0.by == 0 }.count == before)
        session.run(for: .microseconds(1))
        #expect(session.published.filter { $0.by == 0 }.count == before + 1)
        for _ in 0..<20 {
            write(2)
            session.run(for: .microseconds(1))
        }
        #expect(session.published.filter { $0.by == 0 }.count == before + 1)
        session.run(for: .microseconds(400))
        #expect(session.published.filter { $0.by == 0 }.count == before + 2)
    }

    @Test("an idle session sends few packets and stays open")
    func idleness() {
        let session = SimulatedSession(seed: 16, weather: [Weather(), Weather(), Weather()])
        let id = session.open(1) { $0.finishesAfterSending = false }
        session.run(for: .seconds(10))
        let before = session.published.count
        session.run(for: .minutes(10))
        #expect(session.streams[0][id]?.ended == nil)
        #expect(session.published.count - before <= 10 * 2 * 4)
    }

    @Test("a silent peer is first asked for an answer and later declared lost")
    func silence() {
        let session = SimulatedSession(seed: 17, weather: [Weather()])
        let id = session.open(1) { $0.finishesAfterSending = false }
        session.run(for: .seconds(1))
        session.setFrozen(true, path: 0)
        session.ends[0].send(id, ByteBuffer(bytes: [1]), at: session.moment)
        session.run(for: .seconds(3))
        #expect(session.signals[0].contains(.askPeer))
        #expect(session.streams[0][id]?.ended == nil)
        session.run(for: .seconds(180))
        #expect(session.streams[0][id]?.ended == .some(.peerLost))
        #expect(session.signals[0].last == .closed(.peerLost))
        #expect(session.ends.allSatisfy { $0.isOver && $0.nextDeadline == nil })
    }

    @Test("bytes sent before a reset after delivery arrive when packets are lost", arguments: 1...5)
    func resetAfterDelivery(seed: Int) {
        let weather = Weather(loss: 0.2, delay: .milliseconds(5), jitter: .milliseconds(20))
        let session = SimulatedSession(seed: UInt64(seed), weather: [weather])
        let up = patterned(400_000, seed: 3)
        let id = session.open(1, sending: up) {
            $0.resetsAfter = up.count
            $0.resetsAfterDelivery = true
        }
        let isDone = session.run(for: .seconds(120)) { Self.ended(session, id) }
        #expect(isDone)
        #expect(session.streams[1][id]?.data == up)
        #expect(session.streams[1][id]?.finished == false)
        #expect(session.streams[1][id]?.ended == .some(.connectionReset))
        #expect(session.streams[0][id]?.ended == .some(.connectionReset))
        session.run(for: .seconds(10))
        #expect(session.ends.allSatisfy { $0.streamCount == 0 })
    }

    @Test("closing a session ends the streams of the peer")
    func close() {
        let session = SimulatedSession(seed: 18, weather: [Weather()])
        let id = session.open(1) { $0.finishesAfterSending = false }
        session.run(for: .seconds(1))
        session.ends[1].close(.shuttingDown, at: session.moment)
        session.run(for: .seconds(1))
        #expect(session.streams[0][id]?.ended == .some(.shuttingDown))
        #expect(session.signals[0].last == .closed(.shuttingDown))
    }

    @Test("both ends refuse streams beyond the limit")
    func streamLimit() {
        var configuration = SessionConfiguration()
        configuration.maximumStreams = 2
        let session = SimulatedSession(seed: 19, weather: [Weather()], configuration: configuration)
        let ids = (UInt64(1)...3).map { session.open($0) { $0.finishesAfterSending = false } }
        #expect(session.streams[0][ids[2]]?.ended == .some(.tooManyStreams))
        session.run(for: .seconds(1))
        // A client that ignores the limit.
        var packet = ByteBuffer()
        SessionPacketHeader(path: PathID(rawValue: 0), number: 1_000).encode(isFromExit: false, into: &packet)
        SessionFrame.openStream(StreamID(rawValue: 9), StreamRequest(destination: "", port: 1)).encode(into: &packet)
        session.inject(Array(packet.readableBytesView), path: PathID(rawValue: 0), to: 1)
        session.settle()
        #expect(session.streams[1][StreamID(rawValue: 9)] == nil)
        #expect(session.reports[.tooManyStreams] == 1)
        #expect(!session.ends[1].isOver)
    }

    @Test("a refusal by the exit and an exit that never answers are different errors")
    func refusals() {
        let session = SimulatedSession(seed: 20, weather: [Weather()])
        session.dial = { _, _ in .failure(.init(end: .refused)) }
        let refused = session.open(1)
        session.run(for: .seconds(1))
        #expect(session.streams[0][refused]?.ended == .some(.refused))
        session.setFrozen(true, path: 0)
        let silent = session.open(2)
        session.run(for: .seconds(31))
        #expect(session.streams[0][silent]?.ended == .some(.exitSilent))
    }

    @Test("keys are replaced after a number of bytes, during a transfer, and old keys are erased")
    func rekeying() {
        var configuration = SessionConfiguration()
        configuration.keyBytes = 3_000_000
        configuration.keyOverlap = .milliseconds(5)
        let weather = Weather(
            loss: 0.02,
            delay: .milliseconds(2),
            jitter: .milliseconds(2),
            bytesPerSecond: 20_000_000
        )
        let session = SimulatedSession(seed: 21, weather: [weather], configuration: configuration)
        let up = patterned(20_000_000, seed: 22)
        let id = session.open(1, sending: up)
        #expect(session.run(for: .seconds(60)) { Self.ended(session, id) })
        #expect(session.streams[1][id]?.data == up)
        for end in 0...1 {
            let sealed = session.signals[end].filter { if case .sealUnder = $0 { true } else { false } }
            let erased = session.signals[end].filter { if case .eraseKey = $0 { true } else { false } }
            #expect(sealed.count >= 3)
            #expect(erased.count >= sealed.count - 1)
        }
    }
}
