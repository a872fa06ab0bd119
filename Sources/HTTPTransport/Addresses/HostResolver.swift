//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
public import NIOPosix

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

    private let threadPool: NIOThreadPool

    /// - Parameter threadPool: Where the blocking look-ups run.
    public init(threadPool: NIOThreadPool = .singleton) {
        self.threadPool = threadPool
    }

    /// The addresses of `host`, in the system's order of preference.
    public func resolve(host: String, port: Int, on eventLoop: any EventLoop) -> EventLoopFuture<[SocketAddress]> {
        if let address = try? SocketAddress(ipAddress: host, port: port) {
            return eventLoop.makeSucceededFuture([address])
        }
        return self.threadPool.runIfActive(eventLoop: eventLoop) {
            try Self.lookUp(host: host, port: port)
        }
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
