//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore

/// Looks up the addresses of STUN servers that have names, and keeps them for some time.
final class STUNServerLookup {
    private let servers: [DirectConfiguration.STUNServerAddress]
    private let loop: any EventLoop
    private let logger: Logger
    /// The level of the report that a server was not found.
    private let level: Logger.Level
    private var result: (addresses: [SocketAddress], at: NIODeadline)?
    private var isLookingUp = false

    /// How long addresses are used before the names are looked up again.
    private static let validity: TimeAmount = .minutes(5)

    init(_ servers: [DirectConfiguration.STUNServerAddress], loop: any EventLoop, logger: Logger, level: Logger.Level) {
        self.servers = servers
        self.loop = loop
        self.logger = logger
        self.level = level
    }

    /// Passes the addresses to a closure, now or when they were found. Does nothing if they are being looked up.
    func withAddresses(_ body: @escaping ([SocketAddress]) -> Void) {
        guard !self.servers.isEmpty, !self.isLookingUp else { return }
        if let result, .now() - result.at < Self.validity { return body(result.addresses) }
        self.isLookingUp = true
        let bound = NIOLoopBound((self, body), eventLoop: self.loop)
        let lookups = self.servers.map { server in
            HostResolver.own.resolve(host: server.host, port: Int(server.port), on: self.loop)
        }
        EventLoopFuture.whenAllComplete(lookups, on: self.loop).assumeIsolated().whenSuccess { results in
            bound.value.1(bound.value.0.found(results))
        }
    }

    private func found(_ results: [Result<[SocketAddress], any Error>]) -> [SocketAddress] {
        self.isLookingUp = false
        for (server, result) in zip(self.servers, results) {
            guard case .failure(let error) = result else { continue }
            self.logger.log(
                level: self.level,
                "cannot resolve the name of a STUN server",
                metadata: ["server": "\(server.host):\(server.port)", "error": "\(error)"]
            )
        }
        let addresses = results.flatMap { (try? $0.get()) ?? [] }
        // Without a result, the next request looks again. Shortly after a change of the network, names often cannot be resolved.
        self.result = addresses.isEmpty ? nil : (addresses, .now())
        return addresses
    }

    func networkChanged() { self.result = nil }
}
