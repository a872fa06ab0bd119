//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import Testing

@Suite("Address classes")
struct AddressClassTests {
    @Test(
        "an address gets the class of the range that contains it",
        arguments: [
            ("127.0.0.1", AddressClass.loopback), ("127.255.255.254", .loopback), ("::1", .loopback),
            ("10.0.0.1", .privateNetwork), ("172.16.0.1", .privateNetwork), ("172.31.255.255", .privateNetwork),
            ("192.168.1.1", .privateNetwork), ("100.64.0.1", .privateNetwork), ("100.127.255.255", .privateNetwork),
            ("fc00::1", .privateNetwork), ("fdff::1", .privateNetwork), ("fec0::1", .privateNetwork),
            ("169.254.169.254", .linkLocal), ("fe80::1", .linkLocal), ("febf::1", .linkLocal),
            ("100.100.100.200", .metadata), ("fd00:ec2::254", .metadata), ("100.100.100.201", .privateNetwork),
            ("224.0.0.1", .multicast), ("239.255.255.255", .multicast), ("255.255.255.255", .multicast),
            ("ff02::1", .multicast), ("0.0.0.0", .reserved), ("0.1.2.3", .reserved), ("240.0.0.1", .reserved),
            ("192.0.2.1", .reserved), ("198.18.0.1", .reserved), ("198.51.100.1", .reserved),
            ("203.0.113.1", .reserved), ("::", .reserved), ("2001:db8::1", .reserved),
            ("::ffff:127.0.0.1", .loopback), ("::ffff:10.0.0.1", .privateNetwork),
            ("::ffff:169.254.169.254", .linkLocal), ("::127.0.0.1", .loopback), ("2002:7f00:1::", .loopback),
            ("2002:a00:1::", .privateNetwork), ("64:ff9b::10.0.0.1", .privateNetwork), ("64:ff9b::8.8.8.8", .global),
            ("64:ff9b:1:a00:1::808:808", .privateNetwork),
            ("168.63.129.16", .metadata), ("2001::1", .reserved), ("2001:0:4136:e378::1", .reserved),
            ("2001:4860:4860::8888", .global), ("8.8.8.8", .global), ("172.32.0.1", .global), ("100.128.0.1", .global),
            ("2606:4700::1", .global),
        ]
    )
    func classes(text: String, expected: AddressClass) throws {
        #expect(AddressClass(try SocketAddress(ipAddress: text, port: 1)) == expected)
    }

    @Test("a Unix socket address is reserved")
    func unixSockets() throws {
        #expect(AddressClass(try SocketAddress(unixDomainSocketPath: "/x")) == .reserved)
    }

    @Test(
        "a network is off the internet only if it contains no global address",
        arguments: [
            ("10.0.0.0/8", true), ("10.1.0.0/16", true), ("127.0.0.1", true), ("172.16.0.0/12", true),
            ("fd00::/8", true), ("fc00::/7", true), ("::1/128", true), ("::ffff:127.0.0.1/104", true),
            ("0.0.0.0/0", false), ("::/0", false), ("172.0.0.0/8", false), ("192.0.0.0/8", false),
            ("100.64.0.0/9", false), ("8.8.8.8", false), ("2000::/3", false),
            ("64:ff9b::/96", false), ("2002::/16", false), ("::/96", false), ("64:ff9b::10.0.0.0/104", true),
            ("2002:a00::/24", true),
        ]
    )
    func networks(text: String, isOff: Bool) throws {
        #expect(try #require(IPNetwork(text)).hasNoPublicAddress == isOff)
    }
}
