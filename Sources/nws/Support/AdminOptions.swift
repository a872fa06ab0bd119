//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Logging
import NIOCore
import NIOPosix
import Observability

/// Options of a role's HTTP server for status and metrics.
struct AdminOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Address and port for the status page, /metrics (Prometheus), /healthz and /readyz. Port 0 selects a free port.",
            valueName: "host:port"
        )
    )
    var admin: String?

    @Option(
        help: ArgumentHelp(
            "File (mode 0600) with the token that clients of --admin must present: 16 to 256 letters, digits, or - . _ ~. Required if --admin is not a loopback address.",
            valueName: "file"
        )
    )
    var adminToken: String?

    /// The configuration of the server; nil without `--admin`.
    func configuration() async throws -> AdminServer.Configuration? {
        guard let admin else {
            guard self.adminToken == nil else {
                throw CommandError.configuration("--admin-token has no effect without --admin")
            }
            return nil
        }
        let address = try HostAndPort(admin, source: "--admin")
        let configuration = AdminServer.Configuration(
            host: address.host,
            port: address.port,
            token: try self.adminToken.map { try Self.token($0, source: "--admin-token") }
        )
        if (try? await configuration.lacksToken(on: MultiThreadedEventLoopGroup.singleton.next())) == true {
            throw Self.openError(address.host)
        }
        return configuration
    }

    private static func openError(_ host: String) -> CommandError {
        .configuration("--admin: other machines can connect to \(host); protect it with --admin-token FILE")
    }

    /// Reads a token from a file that other users must not be able to read.
    static func token(_ path: String, source: String) throws -> String {
        let text = try SecretFile.read(path, source: source)
        // The unreserved characters of URLs (RFC 3986, section 2.3), which need no encoding.
        let allowed = text.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
                || "-._~".utf8.contains($0)
        }
        guard (16...256).contains(text.utf8.count), allowed else {
            throw CommandError.configuration(
                "\(source): \(path) must contain one word of 16 to 256 letters, digits, or - . _ ~"
            )
        }
        return text
    }

    static func start(
        _ configuration: AdminServer.Configuration,
        report: StatusReport,
        logger: Logger
    ) async throws -> AdminServer {
        do {
            return try await AdminServer.start(
                configuration,
                report: report,
                registry: ProcessMetrics.registry,
                on: MultiThreadedEventLoopGroup.singleton,
                logger: logger
            )
        } catch is AdminServer.TokenRequiredError {
            throw Self.openError(configuration.host)
        } catch {
            throw ProcessSetup.bindError(error, address: "\(configuration.host):\(configuration.port)")
        }
    }
}
