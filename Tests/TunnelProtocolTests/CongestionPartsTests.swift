//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import TunnelProtocol

/// The parts of the congestion control, each alone.
@Suite("Parts of the congestion control")
struct CongestionPartsTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    @Test("acknowledgements that arrive together do not inflate the delivery rate")
    func deliveryRate() throws {
        var rate = DeliveryRate()
        // 10 packets of 1,000 bytes, one each 10 ms, and all acknowledged after 200 ms.
        var snapshots: [DeliveryRate.Snapshot] = []
        for index in 0..<10 {
            let now = Self.start + .milliseconds(Int64(10 * index))
            snapshots.append(rate.sent(inFlight: 1_000 * index, at: now))
        }
        let measured = rate.acknowledged(
            10_000,
            snapshot: snapshots[9],
            sentAt: Self.start + .milliseconds(90),
            minimumRTT: .milliseconds(100),
            at: Self.start + .milliseconds(200)
        )
        let sample = try #require(measured)
        #expect(sample.rate == 50_000)
        #expect(sample.isAppLimited, "the first packets of a path say little")
        #expect(rate.delivered == 10_000)
    }

    @Test(
        "over a relay the window grows fourfold per round trip; with datagrams, or with a queue, it doubles",
        arguments: [(16_384, false, 3.5), (1_400, false, 2.2), (16_384, true, 2.2)]
    )
    func startup(packet: Int, hasQueue: Bool, most: Double) {
        var controller = CongestionController(maximum: 1 << 30)
        controller.setPacket(packet)
        var now = Self.start
        var delivered: UInt64 = 0
        var growth: [Double] = []
        for round in 0..<4 {
            let sent = controller.window
            now = now + .milliseconds(100)
            let rtt: TimeAmount = .milliseconds(hasQueue && round > 0 ? 400 : 100)
            for part in 1...8 {
                let sample = DeliveryRate.Sample(
                    rate: Double(sent * part / 8) * 10,
                    isAppLimited: false,
                    deliveredBefore: part == 8 ? delivered : 0
                )
                delivered += UInt64(sent / 8)
                controller.acknowledged(
                    sent / 8,
                    sample: sample,
                    rtt: rtt,
                    delivered: delivered,
                    inFlight: sent - sent * part / 8,
                    at: now
                )
            }
            growth.append(Double(controller.window) / Double(sent))
        }
        if most > 3 {
            #expect(growth.dropFirst().allSatisfy { $0 > most }, "\(growth)")
        } else {
            #expect(growth.dropFirst(2).allSatisfy { $0 < most }, "\(growth)")
        }
    }

    @Test("before the first bandwidth sample, at most 32 packets are in flight")
    func fewPackets() {
        var controller = CongestionController(maximum: 1 << 30)
        controller.setPacket(16_384)
        #expect(controller.window == 256 << 10)
        controller.setPacket(2_048)
        #expect(controller.window == 64 << 10)
    }

    @Test("a sample counts as limited by the application until what was in flight then is delivered")
    func appLimited() {
        var rate = DeliveryRate()
        func acknowledge(_ snapshot: DeliveryRate.Snapshot, at milliseconds: Int64) -> DeliveryRate.Sample? {
            rate.acknowledged(
                1_000,
                snapshot: snapshot,
                sentAt: Self.start,
                minimumRTT: .zero,
                at: Self.start + .milliseconds(milliseconds)
            )
        }
        let first = rate.sent(inFlight: 0, at: Self.start)
        #expect(acknowledge(first, at: 10)?.isAppLimited == true)
        let second = rate.sent(inFlight: 0, at: Self.start + .milliseconds(10))
        #expect(acknowledge(second, at: 20)?.isAppLimited == false)
        rate.becameAppLimited(inFlight: 0)
        let third = rate.sent(inFlight: 0, at: Self.start + .milliseconds(20))
        #expect(acknowledge(third, at: 30)?.isAppLimited == true)
    }

    @Test("packets are spread over time, with bursts of a millisecond")
    func pacing() {
        var pacer = PacketPacer()
        #expect(pacer.wait(at: Self.start) == nil)
        // 1 MB/s: a packet of 10,000 bytes takes 10 ms.
        pacer.sent(10_000, rate: 1_000_000, at: Self.start)
        // After a pause, half of the packet's time is made up for, and a burst may last 1 ms.
        #expect(pacer.wait(at: Self.start) == Self.start + .milliseconds(4))
        #expect(pacer.wait(at: Self.start + .milliseconds(9)) == nil)
        // A pause is not made up for by a burst.
        pacer.sent(10_000, rate: 1_000_000, at: Self.start + .seconds(5))
        #expect(pacer.wait(at: Self.start + .seconds(5)) != nil)
        pacer.sent(10_000, rate: nil, at: Self.start + .seconds(9))
        #expect(pacer.wait(at: Self.start + .seconds(9)) == nil)
    }

    @Test("a maximum is forgotten after two periods")
    func recentMaximum() {
        var maximum = RecentMaximum()
        maximum.add(5)
        maximum.add(3)
        #expect(maximum.value == 5)
        maximum.startPeriod()
        maximum.add(4)
        #expect(maximum.value == 5)
        maximum.startPeriod()
        #expect(maximum.value == 4)
    }

    @Test("the minimum RTT is outdated when it was not seen for 10 s")
    func minimumRTT() {
        var minimum = MinimumRTT()
        #expect(!minimum.isOutdated(at: Self.start))
        minimum.add(.milliseconds(100), at: Self.start)
        minimum.add(.milliseconds(150), at: Self.start + .seconds(9))
        #expect(minimum.nanoseconds == 100_000_000)
        #expect(minimum.isOutdated(at: Self.start + .seconds(10)))
        minimum.add(.milliseconds(124), at: Self.start + .seconds(10))
        #expect(!minimum.isOutdated(at: Self.start + .seconds(10)))
        #expect(minimum.nanoseconds == 100_000_000)
    }

    /// The window in bytes after many round trips at this bandwidth in bytes per second.
    private static func window(_ bandwidth: Double, rtt: TimeAmount) -> Int {
        var controller = CongestionController(maximum: 32 << 20)
        let product = Int(bandwidth * Double(rtt.nanoseconds) / 1e9)
        var delivered: UInt64 = 0
        var now = Self.start
        for _ in 0..<200 {
            now = now + rtt
            let sample = DeliveryRate.Sample(rate: bandwidth, isAppLimited: false, deliveredBefore: delivered)
            delivered += UInt64(product)
            controller.acknowledged(product, sample: sample, rtt: rtt, delivered: delivered, inFlight: product, at: now)
        }
        return controller.window
    }

    @Test("on a path of 4 ms and more the window is twice what it holds; on a shorter one the processors set the pace")
    func shortPaths() {
        let packets = 2 * SessionConfiguration.basePacket
        #expect(Self.window(100_000_000, rtt: .milliseconds(4)) >= 800_000 + packets)
        #expect(Self.window(100_000_000, rtt: .milliseconds(40)) >= 8_000_000 + packets)
        // Acknowledgements are for 3 ms together.
        let short = Self.window(100_000_000, rtt: .milliseconds(1))
        #expect(short >= 125_000 + 300_000 && short <= 150_000 + 300_000)
    }

    @Test("a limited packet size has no padding", arguments: [(4_096, 4_096), (9_300, 8_192), (12_500, 12_288)])
    func unpadded(limit: Int, size: Int) {
        #expect(PacketSizer.unpadded(limit) == size)
    }
}
