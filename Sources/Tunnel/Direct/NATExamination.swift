//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
package import Logging
package import NIOCore
import PortMapping
package import STUN

/// Finds out how this machine's NAT treats UDP, for `nws doctor`.
package enum NATExamination {
    /// What STUN servers see of a new socket.
    package struct Finding: Sendable {
        /// The addresses under which the socket is seen; empty if no server has answered.
        package let mapped: [String]
        /// Whether one of them is an address of this machine, so that there is no NAT.
        package let isOwn: Bool
        /// How the NAT assigns addresses of IPv4.
        package let behavior: MappingDiscovery.Behavior
        /// The address that the router maps to this machine, and by which protocol; nil if it maps none.
        package let mapping: (address: String, isPublic: Bool, by: String)?
    }

    /// Time for the servers to answer.
    private static let timeout: TimeAmount = .seconds(3)

    /// Asks STUN servers, and the router for a port.
    ///
    /// - Parameters:
    ///   - servers: The addresses of servers, such as relays.
    ///   - named: Servers by name.
    ///   - mapsPort: Whether to ask the router.
    package static func examine(
        _ servers: [SocketAddress],
        _ named: [DirectConfiguration.STUNServerAddress],
        mapsPort: Bool,
        on loop: any EventLoop,
        logger: Logger
    ) async throws -> Finding {
        try await loop.flatSubmit {
            var direct = DirectConfiguration()
            direct.choice = .on
            direct.stunServers = named
            direct.mapsPort = mapsPort
            guard let sockets = DatagramSockets.make(direct, loop, TunnelMetrics(logger: logger), logger)
            else {
                return loop.makeSucceededFuture(Finding(mapped: [], isOwn: false, behavior: .unknown, mapping: nil))
            }
            let bound = NIOLoopBound(sockets, eventLoop: loop)
            return sockets.open(port: 0).flatMap {
                bound.value.refreshMappings(servers)
                return loop.scheduleTask(in: Self.timeout) { Self.finding(bound.value) }.futureResult
            }
        }.get()
    }

    private static func finding(_ sockets: DatagramSockets) -> Finding {
        let mapped = sockets.mappings?.mapped ?? []
        let own = sockets.interfaceAddresses
        defer { sockets.close() }
        let mapping = sockets.portMapping?.mapping
        return Finding(
            mapped: mapped.map(\.text),
            isOwn: mapped.contains { own.contains($0) },
            behavior: sockets.mappings?.behavior(isIPv6: false) ?? .unknown,
            mapping: mapping.map {
                let isPublic = $0.address.socketAddress.map { AddressClass($0) == .global } ?? false
                return ($0.address.text, isPublic, $0.by.rawValue)
            }
        )
    }
}
