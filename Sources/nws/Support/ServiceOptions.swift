//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Tunnel

/// Options that specify the services of an exit.
struct ServiceOptions: ParsableArguments {
    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp.reloadable(
            "Service for a port, for example 22=127.0.0.1:22 or 80=unix:/run/web.sock; repeat for several. With the suffix ,proxy-protocol the exit first sends a PROXY protocol header (version 2) with the fields 0x05 (session key) and, for a proven identity, 0xE0 (npub) and 0xE1 (comment in the list). The suffix is also valid for --backend.",
            valueName: "port=host:port"
        )
    )
    var service: [String] = []

    @Option(
        help: ArgumentHelp.reloadable(
            "Service for all ports without --service: HOST:PORT or unix:PATH. [BACKEND_HOST]",
            valueName: "host:port"
        )
    )
    var backend: String?

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "Port on which the exit terminates TLS, with a certificate that clients can verify (nws cert); repeat for several.",
            valueName: "port"
        )
    )
    var tls: [UInt16] = []

    @Option(
        help: ArgumentHelp(
            "With --target: short for --service PORT=TARGET --tls PORT, for compatibility with the reference implementation.",
            valueName: "port"
        )
    )
    var port: UInt16?

    @Option(help: ArgumentHelp("With --port: the service, as HOST[:PORT] or http://HOST[:PORT].", valueName: "target"))
    var target: String?

    /// Returns the services that the options specify. Without `--backend`, `BACKEND_HOST` is used.
    func services(_ settings: Settings) throws -> ExitServices {
        var services = try settings.services(self.service, backend: self.backend)
        services.tlsPorts = Set(self.tls)
        guard (self.port == nil) == (self.target == nil) else {
            throw CommandError.configuration("--port and --target must be given together")
        }
        if let port, var target {
            guard services.byPort[port] == nil else {
                throw CommandError.configuration("--port: port \(port) already has a service")
            }
            for scheme in ["http://", "tcp://"] where target.hasPrefix(scheme) { target.removeFirst(scheme.count) }
            if target.hasSuffix("/") { target.removeLast() }
            services.byPort[port] = try Settings.backend(
                target.contains(":") ? target : "\(target):80",
                source: "--target"
            )
            services.tlsPorts.insert(port)
        }
        for port in services.tlsPorts where services.backend(for: port) == nil {
            throw CommandError.configuration("--tls: port \(port) has no service; add one with --service or --backend")
        }
        return services
    }
}
