//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import TunnelProtocol

/// The share of a network that sessions use, and the delays that they cause, over links with rates, delays and losses. The
/// clock is virtual, so the figures do not depend on the machine.
@Suite("Sessions over networks")
struct SessionNetworkTests {
    /// The share of a link's bytes that is stream data in full packets: base64, padding, and what an event needs.
    private static let format = 0.745
    private static let megabit = 125_000.0 * Self.format

    private static let near = SimulatedTransfer.links(megabits: 100, milliseconds: 5)
    private static let remote = SimulatedTransfer.links(megabits: 10, milliseconds: 155)
    private static let thirty = SimulatedTransfer.links(megabits: 30, milliseconds: 30)

    private static func share(_ transfer: SimulatedTransfer, of megabits: Double) -> Double {
        (transfer.rate ?? 0) / (megabits * Self.megabit)
    }

    @Test("a transfer between homes fills the link, and messages beside it wait little")
    func home() {
        let transfer = SimulatedTransfer(60_000_000, over: [SimulatedTransfer.home])
        #expect(Self.share(transfer, of: 100) > 0.92)
        #expect(transfer.medianDelay < 90, "60 ms without a queue")
        #expect(transfer.delay(0.99) < 120)
        #expect(transfer.overhead < 0.02)
    }

    @Test("a long path is filled within a few round trips")
    func far() {
        let far = SimulatedTransfer.links(megabits: 100, milliseconds: 100)
        let transfer = SimulatedTransfer(40_000_000, over: [far])
        // At the full rate it would take 4.3 s. The first round trips, of 400 ms each, are slower: they begin with 256 KiB.
        #expect(Self.share(transfer, of: 100) > 0.71)
        #expect(transfer.medianDelay < 250, "200 ms without a queue")
    }

    @Test("TCP connections that lose segments slow a transfer down less than by half")
    func lossy() {
        let lossy = SimulatedTransfer.links(megabits: 100, milliseconds: 30, loss: 0.0005)
        let transfer = SimulatedTransfer(40_000_000, over: [lossy])
        #expect(Self.share(transfer, of: 100) > 0.5)
        #expect(transfer.overhead < 0.05)
    }

    @Test("on a slow link, packets are small and the queue is short", arguments: [true, false])
    func slow(isAtSender: Bool) {
        var links = SimulatedTransfer.links(megabits: 50, milliseconds: 25)
        if isAtSender {
            links.up[1].bytesPerSecond = 625_000
        } else {
            links.down[0].bytesPerSecond = 625_000
        }
        let transfer = SimulatedTransfer(5_000_000, over: [links])
        #expect(Self.share(transfer, of: 5) > 0.88)
        // A packet of 64 KiB alone would occupy the link for 140 ms.
        #expect(transfer.medianDelay < 130, "50 ms without a queue")
    }

    @Test("a far, slow relay beside a near, fast one makes nothing worse", arguments: [0, 1])
    func uneven(position: Int) {
        let alone = SimulatedTransfer(30_000_000, over: [Self.near])
        var links = [Self.near]
        links.insert(Self.remote, at: position)
        let both = SimulatedTransfer(30_000_000, over: links)
        #expect((both.rate ?? 0) > 0.95 * (alone.rate ?? 0))
        #expect(both.medianDelay < 1.5 * alone.medianDelay)
        #expect(both.delay(0.99) < 2 * alone.delay(0.99))
    }

    @Test("a relay that is a little farther away adds up", arguments: [35, 80])
    func farther(milliseconds: Int64) {
        let near = SimulatedTransfer.links(megabits: 50, milliseconds: 10)
        let farther = SimulatedTransfer.links(megabits: 50, milliseconds: milliseconds)
        let transfer = SimulatedTransfer(20_000_000, over: [near, farther])
        #expect(Self.share(transfer, of: 100) > 0.65)
    }

    @Test("TCP connections that start slowly hide the bandwidth only for a while")
    func slowStart() {
        func slowly(_ links: SimulatedLinks) -> SimulatedLinks {
            var links = links
            for index in 0...1 {
                links.up[index].startsSlowly = true
                links.down[index].startsSlowly = true
            }
            return links
        }
        let near = SimulatedTransfer(20_000_000, over: [slowly(Self.near)])
        #expect(Self.share(near, of: 100) > 0.9)
        let both = SimulatedTransfer(20_000_000, over: [slowly(Self.remote), slowly(Self.near)])
        #expect(Self.share(both, of: 100) > 0.9)
        let alike = SimulatedTransfer(20_000_000, over: [slowly(Self.thirty), slowly(Self.thirty)])
        #expect(Self.share(alike, of: 60) > 0.85)
    }

    @Test("a bandwidth that changes during a transfer is found", arguments: [(5.0, 50.0), (50.0, 5.0)])
    func change(from: Double, to: Double) {
        let links = SimulatedTransfer.links(megabits: from, milliseconds: 15)
        let transfer = SimulatedTransfer(20_000_000, over: [links]) { session in
            session.after(.seconds(4)) {
                var weather = SimulatedSession.Weather()
                weather.links = SimulatedTransfer.links(megabits: to, milliseconds: 15)
                session.setWeather(weather, path: 0)
            }
        }
        // The transfer begins after 2 s, so that the first rate lasts for 2 s.
        #expect(Self.share(transfer, of: from < to ? 25 : 5) > 0.8)
        #expect(transfer.delay(0.9) < 1_500)
    }

    @Test("two relays that are alike carry nearly twice as much as one of them")
    func alike() {
        let one = SimulatedTransfer(20_000_000, over: [Self.thirty])
        let two = SimulatedTransfer(40_000_000, over: [Self.thirty, Self.thirty])
        #expect((two.rate ?? 0) > 1.8 * (one.rate ?? 0))
        #expect(two.shares.allSatisfy { $0 > 0.4 })
    }

    @Test("bulk data takes a fast relay, although another one is nearer")
    func nearButSlow() {
        let nearSlow = SimulatedTransfer.links(megabits: 5, milliseconds: 5)
        let transfer = SimulatedTransfer(20_000_000, over: [nearSlow, SimulatedTransfer.home])
        #expect(Self.share(transfer, of: 100) > 0.8)
    }

    @Test("a relay that freezes during a transfer stops nothing for a second")
    func frozen() {
        let transfer = SimulatedTransfer(20_000_000, over: [Self.thirty, Self.thirty, Self.thirty]) { session in
            session.after(.seconds(4)) { session.setFrozen(true, path: 0) }
        }
        #expect(Self.share(transfer, of: 60) > 0.7)
        #expect(transfer.delay(1) < 1_000)
    }
}
