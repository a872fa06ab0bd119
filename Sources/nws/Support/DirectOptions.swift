//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import ArgumentParser
public import Tunnel

extension DirectConfiguration.Choice: ExpressibleByArgument {}

/// Options of direct paths.
struct DirectOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "With whom to exchange datagrams directly, without a relay: off, trusted (between a device and an exit that trust each other), or on (with every peer). Both sides learn each other's addresses.",
            valueName: "choice"
        )
    )
    var direct = DirectConfiguration().choice

    @Option(help: ArgumentHelp("UDP port for direct paths; 0 for any.", valueName: "port"))
    var directPort: UInt16 = 0

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "Address and port at which datagrams reach this node, for example because a router forwards them; repeat for several.",
            valueName: "ip:port"
        )
    )
    var directAddress: [String] = []

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "STUN server that is asked for this node's public address, in addition to the relays that offer STUN, and instead of the public STUN servers; repeat for several.",
            valueName: "host:port"
        )
    )
    var stun: [String] = []

    @Flag(
        help: "Do not ask the router to forward a UDP port to this node (PCP or NAT-PMP; Linux only)."
    )
    var noPortMapping = false

    @Flag(
        help:
            "Do not ask the STUN servers of the public relay list. They are asked only without --stun, if a session uses a relay of the list and none of its relays offers STUN."
    )
    var noPublicStun = false

    /// - Parameter list: The public relay list.
    func configuration(_ list: PublicRelayList) throws -> DirectConfiguration {
        var configuration = DirectConfiguration()
        configuration.choice = self.direct
        configuration.port = Int(self.directPort)
        configuration.addresses = try self.directAddress.map { text in
            let place = try HostAndPort(text, source: "--direct-address")
            guard let port = UInt16(exactly: place.port), let address = DirectAddress(ip: place.host, port: port) else {
                throw CommandError.configuration(
                    "--direct-address: \(text): needs an IP address and a port, for example 192.0.2.1:4000"
                )
            }
            return address
        }
        configuration.mapsPort = !self.noPortMapping
        if !self.noPublicStun && self.stun.isEmpty {
            configuration.publicSTUNServers = list.stunServers
            configuration.publicRelays = Set(list.entries.map(\.url))
        }
        configuration.stunServers = try Self.stunServers(self.stun)
        return configuration
    }

    /// Parses addresses of STUN servers.
    ///
    /// - Parameters:
    ///   - texts: The addresses.
    ///   - source: Where they come from, for error messages.
    static func stunServers(
        _ texts: [String],
        source: String = "--stun"
    ) throws -> [DirectConfiguration.STUNServerAddress] {
        try texts.map { text in
            let place = try HostAndPort(text, source: source)
            guard let port = UInt16(exactly: place.port), port != 0 else {
                throw CommandError.configuration("\(source): \(text): the port must not be 0; the usual one is 3478")
            }
            return DirectConfiguration.STUNServerAddress(host: place.host, port: port)
        }
    }
}
