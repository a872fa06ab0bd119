//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOPosix

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The options of a ``UDPSocket``: sizes of buffers, receive offload, and no fragmentation.
enum UDPSocketOptions {
    /// Size of a receive buffer in bytes and number of buffers: with pieces of several datagrams, and without.
    private static let read =
        System.supportsUDPReceiveOffload ? (size: 65_536, count: 8) : (size: 2_048, count: 32)
    /// Size of the kernel's buffers in bytes. A burst of a window must not be lost while the loop does something else.
    private static let kernelBuffer: SocketOptionValue = 4 << 20
    /// Numbers of pending bytes: above the high one the socket is not writable, and below the low one it is again.
    private static let writeBuffer = ChannelOptions.Types.WriteBufferWaterMark(low: 1 << 17, high: 1 << 18)

    /// Returns a bootstrap for a socket of an address family.
    static func bootstrap(isIPv6: Bool, loop: any EventLoop) -> DatagramBootstrap {
        let read = Self.read
        var bootstrap = DatagramBootstrap(group: loop)
            .channelOption(.datagramVectorReadMessageCount, value: read.count)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: read.size * read.count))
            .channelOption(.writeBufferWaterMark, value: Self.writeBuffer)
            .channelOption(.socketOption(.so_rcvbuf), value: Self.kernelBuffer)
            .channelOption(.socketOption(.so_sndbuf), value: Self.kernelBuffer)
        if System.supportsUDPReceiveOffload {
            bootstrap =
                bootstrap
                .channelOption(.datagramReceiveOffload, value: true)
                .channelOption(.datagramReceiveSegmentSize, value: true)
        }
        for option in Self.familyOptions(isIPv6: isIPv6) {
            bootstrap = bootstrap.channelOption(option.option, value: option.value)
        }
        return bootstrap
    }

    /// IPv6: without the first option, it would also take the port of the IPv4 socket. On Linux, datagrams are not fragmented, so
    /// that the session learns which size arrives whole (RFC 8899, section 3).
    private static func familyOptions(
        isIPv6: Bool
    ) -> [(option: ChannelOptions.Types.SocketOption, value: SocketOptionValue)] {
        var options: [(option: ChannelOptions.Types.SocketOption, value: SocketOptionValue)] = []
        if isIPv6 { options.append((.init(level: .ipv6, name: .ipv6_v6only), 1)) }
        #if os(Linux)
        let name = isIPv6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER
        let value = isIPv6 ? IPV6_PMTUDISC_PROBE : IP_PMTUDISC_PROBE
        options.append(
            (.init(level: isIPv6 ? .ipv6 : .ip, name: .init(rawValue: name)), SocketOptionValue(value))
        )
        #endif
        return options
    }
}
