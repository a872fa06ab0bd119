//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOConcurrencyHelpers
package import NIOCore
import NIOPosix

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Resolves a host name to socket addresses.
///
/// It returns the addresses of one lookup, so that the caller can check them and connect to the same ones. A second
/// lookup could return other addresses.
package struct HostResolver: Sendable {
    /// Maximum number of addresses returned for one name. Further addresses are ignored.
    package static let maximumAddresses = 16

    /// A name could not be resolved.
    package struct ResolutionError: Error, Sendable, CustomStringConvertible {
        /// The name that was looked up.
        package let host: String
        /// Why the lookup failed, for error messages.
        package let reason: String
        /// An error message that names the host and the reason.
        package var description: String { "cannot resolve \(self.host): \(self.reason)" }
    }

    /// A thread pool for lookups, with a limit on concurrent lookups.
    private final class Lane: Sendable {
        let threadPool: NIOThreadPool
        let limit: Int
        private let underWay = NIOLockedValueBox(0)

        init(threadPool: NIOThreadPool, limit: Int) {
            self.threadPool = threadPool
            self.limit = limit
        }

        func enter() -> Bool {
            self.underWay.withLockedValue {
                guard $0 < self.limit else { return false }
                $0 += 1
                return true
            }
        }

        func leave() { self.underWay.withLockedValue { $0 -= 1 } }
    }

    /// The thread pool for names from untrusted parties. Their name servers may be slow on purpose, so these lookups
    /// use separate threads.
    private static let othersLane: Lane = {
        let threadPool = NIOThreadPool(numberOfThreads: Self.threadsForOthers)
        threadPool.start()
        return Lane(threadPool: threadPool, limit: Self.maximumLookUpsForOthers)
    }()
    private static let ownLane = Lane(threadPool: .singleton, limit: .max)
    private static let threadsForOthers = 4
    private static let maximumLookUpsForOthers = 256
    /// Time after which a lookup fails. The thread stays busy until the system call returns.
    private static let timeout: TimeAmount = .seconds(15)

    private let lane: Lane

    /// Resolves names that the user configured.
    package static let own = HostResolver(lane: Self.ownLane)
    /// Resolves names that an untrusted party supplied. Slow lookups here do not delay those of ``own``.
    ///
    /// At most 256 lookups are queued or running; further ones fail at once.
    package static let others = HostResolver(lane: Self.othersLane)

    private init(lane: Lane) {
        self.lane = lane
    }

    /// Resolves `host` to its addresses, in the system's order of preference.
    ///
    /// An IP address is returned without a lookup. The future fails with ``ResolutionError`` if the name cannot be
    /// resolved within 15 s.
    ///
    /// - Parameters:
    ///   - host: Name or IP address.
    ///   - port: Port of the returned addresses.
    ///   - eventLoop: Event loop of the returned future.
    package func resolve(host: String, port: Int, on eventLoop: any EventLoop) -> EventLoopFuture<[SocketAddress]> {
        if let address = try? SocketAddress(ipAddress: host, port: port) {
            return eventLoop.makeSucceededFuture([address])
        }
        let lane = self.lane
        guard lane.enter() else {
            return eventLoop.makeFailedFuture(ResolutionError(host: host, reason: "too many lookups in progress"))
        }
        let promise = eventLoop.makePromise(of: [SocketAddress].self)
        let deadline = eventLoop.scheduleTask(in: Self.timeout) {
            promise.fail(ResolutionError(host: host, reason: "the lookup timed out"))
        }
        lane.threadPool.runIfActive(eventLoop: eventLoop) {
            try Self.lookUp(host: host, port: port)
        }.whenComplete { result in
            lane.leave()
            deadline.cancel()
            promise.completeWith(result)
        }
        return promise.futureResult
    }

    private static func lookUp(host: String, port: Int) throws -> [SocketAddress] {
        var hints = unsafe addrinfo()
        unsafe hints.ai_family = AF_UNSPEC
        #if canImport(Glibc)
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        #else
        unsafe hints.ai_socktype = Int32(SOCK_STREAM)
        #endif
        var result: UnsafeMutablePointer<addrinfo>?
        let status = unsafe getaddrinfo(host, String(port), &hints, &result)
        guard status == 0 else {
            throw ResolutionError(host: host, reason: unsafe String(cString: gai_strerror(status)))
        }
        defer { unsafe freeaddrinfo(result) }
        var addresses: [SocketAddress] = []
        var next = unsafe result
        while let entry = unsafe next, addresses.count < Self.maximumAddresses {
            unsafe next = entry.pointee.ai_next
            guard let raw = unsafe entry.pointee.ai_addr else { continue }
            switch unsafe entry.pointee.ai_family {
            case AF_INET:
                let address = unsafe raw.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { unsafe $0.pointee }
                addresses.append(SocketAddress(address, host: host))
            case AF_INET6:
                let address = unsafe raw.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { unsafe $0.pointee }
                addresses.append(SocketAddress(address, host: host))
            default:
                continue
            }
        }
        guard !addresses.isEmpty else { throw ResolutionError(host: host, reason: "no IPv4 or IPv6 address") }
        return addresses
    }
}
