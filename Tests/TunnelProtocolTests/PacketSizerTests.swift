//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import TunnelProtocol

@Suite("Packet size discovery")
struct PacketSizerTests {
    @Test("a relay that disconnects on large packets is probed three times, also across reconnects")
    func reconnects() {
        var sizer = PacketSizer(base: 40_960, largest: 65_535)
        var number: UInt64 = 0
        var probes = 0
        for _ in 0..<10 {
            let size = sizer.sizeOfNext(waiting: 1_000_000, limit: 65_535)
            if size > 40_960 { probes += 1 }
            sizer.sent(number, size: size)
            sizer.lost(number, size: size)
            number += 1
            sizer.reconnected(base: 40_960, largest: 65_535)
        }
        #expect(probes == 3)
        // Other limits mean that another relay answers at this address, which may accept large packets.
        sizer.reconnected(base: 40_960, largest: 50_000)
        #expect(sizer.sizeOfNext(waiting: 1_000_000, limit: 65_535) == 50_000)
    }

    @Test("a relay that closes the connection on packets of the base size gets smaller ones")
    func closes() {
        var sizer = PacketSizer(base: 40_960, largest: 65_535)
        for number in UInt64(0)..<3 {
            #expect(sizer.size == 40_960)
            sizer.sent(2 * number, size: 30_000)
            sizer.lost(2 * number, size: 30_000)
            sizer.reconnected(base: 40_960, largest: 65_535)
            sizer.acknowledged(2 * number + 1, size: 4)
        }
        #expect(sizer.size == 14_336)
        // If such packets arrive between the losses, their size is not the reason.
        var lossy = PacketSizer(base: 40_960, largest: 40_960)
        for number in UInt64(0)..<10 {
            lossy.lost(3 * number, size: 40_960)
            lossy.reconnected(base: 40_960, largest: 40_960)
            lossy.acknowledged(3 * number + 1, size: 4)
            lossy.acknowledged(3 * number + 2, size: 40_960)
        }
        #expect(lossy.size == 40_960)
    }

    @Test("a refusal of a packet no larger than what arrived is not for its size")
    func refusals() {
        var sizer = PacketSizer(base: 40_960, largest: 65_535)
        sizer.acknowledged(0, size: 40_960)
        var isForItsSize = sizer.refused(size: 4_100)
        #expect(!isForItsSize && sizer.size == 40_960)
        // A reduced size is raised again, and with it the search for a larger one begins.
        sizer.reconnected(base: 40_960, largest: 65_535)
        isForItsSize = sizer.refused(size: 40_960)
        #expect(isForItsSize && sizer.size == 20_480)
        for number in UInt64(1)...1_000 { sizer.acknowledged(number, size: 20_480) }
        #expect(sizer.size == 40_960)
        #expect(sizer.sizeOfNext(waiting: 1_000_000, limit: 65_535) == 65_535)
        // A relay that refuses everything is not given smaller packets.
        var closed = PacketSizer(base: 40_960, largest: 40_960)
        isForItsSize = closed.refused(size: 4)
        #expect(!isForItsSize && closed.size == 40_960)
    }

    @Test("a discovered packet size holds for one connection only")
    func found() {
        var sizer = PacketSizer(base: 40_960, largest: 65_535)
        sizer.sent(1, size: 65_535)
        sizer.acknowledged(1, size: 65_535)
        #expect(sizer.size == 65_535)
        sizer.reconnected(base: 40_960, largest: 65_535)
        #expect(sizer.size == 40_960)
        #expect(sizer.sizeOfNext(waiting: 65_535, limit: 65_535) == 65_535)
        #expect(sizer.sizeOfNext(waiting: 65_534, limit: 65_535) == 40_960)
    }

    @Test("a maximum packet size below 1,024 bytes is rejected", arguments: [0, 1, 20, 1_023])
    func tooSmall(most: UInt64) {
        var list = ParameterList()
        list.set(.maximumPacket, to: most)
        #expect(SessionParameters(list) == nil)
        list.set(.maximumPacket, to: 1_024)
        #expect(SessionParameters(list)?.maximumPacket == 1_024)
        #expect(SessionParameters(ParameterList())?.maximumPacket == 40_960)
    }
}
