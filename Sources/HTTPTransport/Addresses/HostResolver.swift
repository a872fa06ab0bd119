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

    /// Threads for lookups, which clients share. A lookup occupies a thread until the system call returns.
    private final class Workers: Sendable {
        struct Job: Sendable {
            let run: @Sendable () -> Void
            let refuse: @Sendable () -> Void
        }

        typealias Queue = FairQueue<LookupClient.Share, LookupClient, Job>

        private let threadPool: NIOThreadPool
        private let queue: NIOLockedValueBox<Queue>

        /// Starts as many threads as lookups may run at the same time.
        init(_ limits: Queue.Limits) {
            self.threadPool = NIOThreadPool(numberOfThreads: limits.running)
            self.threadPool.start()
            self.queue = NIOLockedValueBox(Queue(limits))
        }

        func perform(_ job: Job, for owner: Queue.Owner) {
            let refused = self.queue.withLockedValue { $0.append(job, of: owner) }
            refused?.refuse()
            self.startNext()
        }

        private func startNext() {
            while let (owner, job) = self.queue.withLockedValue({ $0.next() }) {
                self.threadPool.submit { state in
                    if case .active = state { job.run() } else { job.refuse() }
                    self.queue.withLockedValue { $0.finished(owner) }
                    self.startNext()
                }
            }
        }
    }

    /// The threads for names from untrusted parties. Their name servers may be slow on purpose.
    private static let otherWorkers = Workers(
        Workers.Queue.Limits(
            running: Self.threadsForOthers,
            runningPerGroup: 8,
            runningPerClient: 4,
            waiting: 256,
            waitingPerClient: 32
        )
    )
    /// The threads for names that the user configured. Each name has a limit, so that a name server that does not answer
    /// delays only its own names.
    private static let ownWorkers = Workers(
        Workers.Queue.Limits(
            running: Self.threadsForOwn,
            runningPerGroup: .max,
            runningPerClient: 2,
            waiting: 4_096,
            waitingPerClient: 256
        )
    )
    private static let threadsForOthers = 64
    private static let threadsForOwn = 32
    /// Time after which a lookup fails. The thread stays busy until the system call returns.
    private static let timeout: TimeAmount = .seconds(15)

    private let workers: Workers

    /// Resolves names that the user configured.
    package static let own = HostResolver(workers: Self.ownWorkers)
    /// Resolves names that an untrusted party supplied. Slow lookups here do not delay those of ``own``.
    ///
    /// At most 64 lookups run at the same time, 4 of each client and 8 of each share (``LookupClient``), and 256 wait, 32 of
    /// each client. When 256 wait, a new one or one of the client or share with the most waiting ones fails. Known clients go
    /// first; shares and clients take turns.
    package static let others = HostResolver(workers: Self.otherWorkers)

    private init(workers: Workers) {
        self.workers = workers
    }

    /// Resolves `host` to its addresses, in the system's order of preference.
    ///
    /// An IP address and `localhost` need no lookup. The future fails with ``ResolutionError`` if the name cannot be
    /// resolved within 15 s.
    ///
    /// - Parameters:
    ///   - host: Name or IP address.
    ///   - port: Port of the returned addresses.
    ///   - client: For whom the name is resolved. By default, each name has its own share of the lookups.
    ///   - eventLoop: Event loop of the returned future.
    package func resolve(
        host: String,
        port: Int,
        for client: LookupClient? = nil,
        on eventLoop: any EventLoop
    ) -> EventLoopFuture<[SocketAddress]> {
        let client = client ?? LookupClient(host, isKnown: true)
        if !host.utf8.contains(0), let address = try? SocketAddress(ipAddress: host, port: port) {
            return eventLoop.makeSucceededFuture([address])
        }
        if let addresses = Self.loopbackAddresses(host: host, port: port) {
            return eventLoop.makeSucceededFuture(addresses)
        }
        let promise = eventLoop.makePromise(of: [SocketAddress].self)
        let isOver = NIOLockedValueBox(false)
        let deadline = eventLoop.scheduleTask(in: Self.timeout) {
            isOver.withLockedValue { $0 = true }
            promise.fail(ResolutionError(host: host, reason: "the lookup timed out"))
        }
        let job = Workers.Job(
            run: {
                // The timeout passed while the job waited.
                guard !isOver.withLockedValue({ $0 }) else { return }
                let result = Result { try Self.lookUp(host: host, port: port) }
                deadline.cancel()
                promise.completeWith(result)
            },
            refuse: {
                deadline.cancel()
                promise.fail(ResolutionError(host: host, reason: "too many lookups in progress"))
            }
        )
        self.workers.perform(
            job,
            for: Workers.Queue.Owner(group: client.share(for: host), client: client, isPreferred: client.isKnown)
        )
        return promise.futureResult
    }

    /// The addresses of `localhost`, which needs no name server (RFC 6761, section 6.3). Nil for other names.
    private static func loopbackAddresses(host: String, port: Int) -> [SocketAddress]? {
        guard ["localhost", "localhost."].contains(host.lowercased()) else { return nil }
        return try? [SocketAddress(ipAddress: "127.0.0.1", port: port), SocketAddress(ipAddress: "::1", port: port)]
    }

    private static func lookUp(host: String, port: Int) throws -> [SocketAddress] {
        // The system would end the name at a NUL.
        guard !host.utf8.contains(0) else { throw ResolutionError(host: host, reason: "invalid name") }
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
