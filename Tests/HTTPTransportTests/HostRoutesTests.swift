//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import Testing

@Suite("Routes of the machine")
struct HostRoutesTests {
    private static let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"

    @Test("the default gateway is that of the lowest metric; other routes, and those that are down, do not count")
    func gateway() {
        let table =
            Self.head + "eth0\t0002A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
            + "wlan0\t00000000\t0103A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
            + "eth0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
            + "eth1\t00000000\t0104A8C0\t0002\t0\t0\t1\t00000000\t0\t0\t0\n"
        #expect(HostRoutes.defaultGateway(inTable: table)?.ipAddress == "192.168.2.1")
    }

    @Test(
        "a table without a default gateway, or of another form, has none",
        arguments: [
            "", head, head + "tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n",
            head + "eth0\t00000000\tnonsense\t0003\t0\t0\t0\t00000000\n", head + "eth0\t0\n", "\n\n\t\t\n",
        ]
    )
    func none(table: String) { #expect(HostRoutes.defaultGateway(inTable: table) == nil) }

    @Test("what is sent to this machine comes from the address to which it goes")
    func source() throws {
        let loopback = try SocketAddress(ipAddress: "127.0.0.1", port: 1)
        #expect(HostRoutes.source(toward: loopback) == [127, 0, 0, 1])
        // The internet is not reached by way of loopback.
        #expect(HostRoutes.source(throughGateway: loopback) == nil)
    }
}
