//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import HTTPTransport
import NIOSSL
import NostrClient

/// Options about connections to relays.
struct RelayClientOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "PEM file of certificates to trust for wss:// relays, instead of the system's.",
            valueName: "file"
        )
    )
    var caFile: String?

    @Option(
        help: ArgumentHelp(
            "SOCKS5 proxy by which relays are reached, Tor for instance: socks5://127.0.0.1:9050. It looks names up. Connections that are to stay apart get credentials of their own, so that Tor takes different circuits.",
            valueName: "url"
        )
    )
    var relayProxy: String?

    private func proxy() throws -> SOCKS5Proxy? {
        guard let relayProxy else { return nil }
        let parts = relayProxy.components(separatedBy: "://")
        guard parts.count == 2, ["socks5", "socks5h"].contains(parts[0].lowercased()), !parts[1].contains("@"),
            let place = try? HostAndPort(
                parts[1].hasSuffix("/") ? String(parts[1].dropLast()) : parts[1],
                source: "--relay-proxy"
            ), place.port > 0
        else {
            throw CommandError.configuration("--relay-proxy: expected socks5://HOST:PORT")
        }
        return SOCKS5Proxy(host: place.host, port: place.port)
    }

    func configuration() throws -> RelayClientConfiguration {
        var configuration = RelayClientConfiguration()
        configuration.proxy = try self.proxy()
        if let path = self.caFile {
            do {
                let certificates = try NIOSSLCertificate.fromPEMFile(path)
                guard !certificates.isEmpty else {
                    throw CommandError.configuration("--ca-file: there is no certificate in \(path)")
                }
                configuration.tls.trustRoots = .certificates(certificates)
            } catch let error as CommandError {
                throw error
            } catch {
                throw CommandError.configuration("--ca-file: cannot read certificates from \(path)")
            }
        }
        return configuration
    }
}
