//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOConcurrencyHelpers
public import NIOCore
import NIOPosix

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Looks names up once and returns every address, so that what was checked is what is dialled.
public struct HostResolver: Sendable {
    /// Most addresses of one name that are returned.
    public static let maximumAddresses = 16

    /// Why a name has no address.
    public struct ResolutionError: Error, Sendable, CustomStringConvertible {
        public let host: String
        public let reason: String
        public var description: String { "cannot resolve \(self.host): \(self.reason)" }
    }

    /// Where look-ups of one kind run, and how many may be under way.
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

    /// For names that others chose, whose servers may take their time on purpose: threads of their own.
    private static let othersLane: Lane = {
        let threadPool = NIOThreadPool(numberOfThreads: Self.threadsForOthers)
        threadPool.start()
        return Lane(threadPool: threadPool, limit: Self.maximumLookUpsForOthers)
    }()
    private static let ownLane = Lane(threadPool: .singleton, limit: .max)
    private static let threadsForOthers = 4
    private static let maximumLookUpsForOthers = 256
    /// After which nobody waits for an answer any more.
    private static let patience: TimeAmount = .seconds(15)

    private let lane: Lane

    /// For names that the user chose.
    public static let own = HostResolver(lane: Self.ownLane)
    /// For names that somebody else chose: however long they take, they hold up no others.
    public static let others = HostResolver(lane: Self.othersLane)

    private init(lane: Lane) {
        self.lane = lane
    }

    /// The addresses of `host`, in the system's order of preference. Fails after 15 s.
    public func resolve(host: String, port: Int, on eventLoop: any EventLoop) -> EventLoopFuture<[SocketAddress]> {
        if let address = try? SocketAddress(ipAddress: host, port: port) {
            return eventLoop.makeSucceededFuture([address])
        }
        let lane = self.lane
        guard lane.enter() else {
            return eventLoop.makeFailedFuture(ResolutionError(host: host, reason: "too many names are being looked up"))
        }
        let promise = eventLoop.makePromise(of: [SocketAddress].self)
        let deadline = eventLoop.scheduleTask(in: Self.patience) {
            promise.fail(ResolutionError(host: host, reason: "no answer from the name servers"))
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
        guard !addresses.isEmpty else { throw ResolutionError(host: host, reason: "no addresses") }
        return addresses
    }
}
