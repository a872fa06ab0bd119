//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

extension Channel {
    /// Closes immediately. A socket is closed with RST, so that a truncated stream does not look complete. A pipe is
    /// closed normally, because it has no RST.
    func abort() {
        if let socket = self as? any SocketOptionProvider, self.remoteAddress != nil {
            socket.setSoLinger(linger(l_onoff: 1, l_linger: 0)).whenComplete { _ in }
        }
        self.close(promise: nil)
    }

    /// Aborts when the peer has acknowledged all written bytes. An earlier reset would drop bytes that the kernel still
    /// holds.
    ///
    /// - Parameter timeout: Maximum time without progress. The remaining bytes are then dropped.
    func abortWhenAcknowledged(timeout: TimeAmount) {
        self.whenAcknowledged(timeout: timeout, last: .max, since: .now()) { self.abort() }
    }

    /// Closes when the peer has acknowledged all written bytes. If a socket is closed while it has unread input, the
    /// kernel resets the connection, and unsent bytes are lost.
    ///
    /// - Parameter timeout: Maximum time without progress. The remaining bytes are then dropped.
    func closeWhenAcknowledged(timeout: TimeAmount) {
        self.whenAcknowledged(timeout: timeout, last: .max, since: .now()) { self.close(promise: nil) }
    }

    private func whenAcknowledged(
        timeout: TimeAmount,
        last: UInt64,
        since: NIODeadline,
        _ body: @escaping @Sendable () -> Void
    ) {
        guard self.isActive else { return }
        guard let queue = self.sendQueueLength() else { return body() }
        queue.whenComplete { result in
            guard case .success(let length) = result, length > 0 else { return body() }
            let since = length < last ? NIODeadline.now() : since
            guard .now() - since < timeout else { return body() }
            _ = self.eventLoop.scheduleTask(in: Self.acknowledgementInterval) {
                self.whenAcknowledged(timeout: timeout, last: length, since: since, body)
            }
        }
    }

    /// Interval at which the kernel is polled for acknowledgements. It has no event for them.
    private static var acknowledgementInterval: TimeAmount { .milliseconds(20) }

    /// A measure of the written data that is not acknowledged; 0 if all of it is acknowledged. Nil if the channel is
    /// not a TCP socket.
    private func sendQueueLength() -> EventLoopFuture<UInt64>? {
        #if os(Linux)
        return TCPInfo.of(self)?.map { UInt64($0.unacknowledgedSegments) + UInt64($0.unsentBytes) }
        #else
        guard let socket = self as? any SocketOptionProvider, self.remoteAddress?.ipAddress != nil else { return nil }
        let unsent: EventLoopFuture<CInt> = socket.unsafeGetSocketOption(
            level: .socket,
            name: .init(rawValue: SO_NWRITE)
        )
        return unsent.map { UInt64(max(0, $0)) }
        #endif
    }
}
