//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import TunnelProtocol

@Suite("Sizes of packets")
struct PacketSizerTests {
    @Test("a relay that closes the connection for large packets is asked three times in all")
    func reconnects() {
        var sizer = PacketSizer(base: 40_960, largest: 65_535)
        var number: UInt64 = 0
        var probes = 0
        for _ in 0..<10 {
            let size = sizer.sizeOfNext(waiting: 1_000_000)
            if size > 40_960 { probes += 1 }
            sizer.sent(number, size: size)
            sizer.lost(number, size: size)
            number += 1
            sizer.reconnected(base: 40_960, largest: 65_535)
        }
        #expect(probes == 3)
        // Another relay may take them.
        sizer.reconnected(base: 40_960, largest: 50_000)
        #expect(sizer.sizeOfNext(waiting: 1_000_000) == 50_000)
    }

    @Test("what was found holds for one connection")
    func found() {
        var sizer = PacketSizer(base: 40_960, largest: 65_535)
        sizer.sent(1, size: 65_535)
        sizer.acknowledged(1, size: 65_535)
        #expect(sizer.size == 65_535)
        sizer.reconnected(base: 40_960, largest: 65_535)
        #expect(sizer.size == 40_960)
        #expect(sizer.sizeOfNext(waiting: 65_535) == 65_535)
        #expect(sizer.sizeOfNext(waiting: 65_534) == 40_960)
    }

    @Test("parameters that leave no room for a packet are none", arguments: [0, 1, 20, 1_023])
    func tooSmall(most: UInt64) {
        var buffer = ByteBuffer()
        buffer.writeVariableLengthInteger(0x03)
        buffer.writeVariableLengthInteger(most)
        #expect(SessionParameters(encoded: Array(buffer.readableBytesView)) == nil)
        #expect(SessionParameters(encoded: [0x03, 0x44, 0x00])?.maximumPacket == 1_024)
        #expect(SessionParameters(encoded: [])?.maximumPacket == 40_960)
    }
}
