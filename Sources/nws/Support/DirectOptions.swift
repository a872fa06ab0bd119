//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import ArgumentParser
public import Tunnel

extension DirectConfiguration.Choice: ExpressibleByArgument {}

/// Options of direct paths. They are hidden until nodes find each other behind NATs.
struct DirectOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Exchange datagrams with peers without a relay: off, trusted (between a device and an exit that know each other), or on.",
            valueName: "choice",
            visibility: .hidden
        )
    )
    var direct = DirectConfiguration.Choice.off

    @Option(
        help: ArgumentHelp("UDP port for datagrams; 0 for any.", valueName: "port", visibility: .hidden)
    )
    var directPort: UInt16 = 0

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "Address and port at which datagrams reach this node, for example because a router forwards them; repeat for several.",
            valueName: "ip:port",
            visibility: .hidden
        )
    )
    var directAddress: [String] = []

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "STUN server that is asked for this node's public address, in addition to the relays that answer such requests; repeat for several.",
            valueName: "host:port",
            visibility: .hidden
        )
    )
    var stun: [String] = []

    func configuration() throws -> DirectConfiguration {
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
        configuration.stunServers = try self.stun.map { text in
            let place = try HostAndPort(text, source: "--stun")
            guard let port = UInt16(exactly: place.port), port != 0 else {
                throw CommandError.configuration("--stun: \(text): the port must not be 0; the usual one is 3478")
            }
            return DirectConfiguration.STUNServerAddress(host: place.host, port: port)
        }
        return configuration
    }
}
