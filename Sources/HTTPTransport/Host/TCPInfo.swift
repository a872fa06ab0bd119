//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

#if os(Linux)
package import NIOCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// What the kernel knows about a TCP connection: the beginning of Linux's `struct tcp_info` (`linux/tcp.h`). The
/// declaration in glibc does not contain all of these fields.
package struct TCPInfo: Sendable {
    private var state: (UInt8, UInt8)
    /// Number of retransmission timeouts since the last acknowledgement (`tcpi_retransmits`, at offset 2).
    package var retransmissionTimeouts: UInt8
    private var probes: UInt8
    private var scales: UInt32
    private var options: (UInt64, UInt64)
    /// Segments that were sent and not acknowledged (`tcpi_unacked`, at offset 24).
    package var unacknowledgedSegments: UInt32
    private var segments: (UInt32, UInt32, UInt32, UInt32)
    private var lastSent: (UInt32, UInt32, UInt32)
    /// Milliseconds since the last acknowledgement (`tcpi_last_ack_recv`, at offset 56).
    package var millisecondsSinceAcknowledgement: UInt32
    private var limits: (UInt32, UInt32)
    /// Smoothed round-trip time in microseconds (`tcpi_rtt`, at offset 68).
    package var roundTripMicroseconds: UInt32
    private var others: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64)
    /// Bytes in the send buffer that were never sent (`tcpi_notsent_bytes`, at offset 144).
    package var unsentBytes: UInt32

    /// Reads the information of a channel. Nil if it is not a TCP socket.
    package static func of(_ channel: any Channel) -> EventLoopFuture<TCPInfo>? {
        guard let socket = channel as? any SocketOptionProvider, channel.remoteAddress?.ipAddress != nil else {
            return nil
        }
        return socket.unsafeGetSocketOption(level: .tcp, name: .init(rawValue: TCP_INFO))
    }
}
#endif
