//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import HTTPTransport
import NIOSSL
import NostrClient

/// Options for connections to relays.
struct RelayClientOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "PEM file with certificate authorities to trust for wss:// relays, instead of those of the system.",
            valueName: "file"
        )
    )
    var caFile: String?

    @Option(
        help: ArgumentHelp(
            "SOCKS5 proxy for connections to relays, for example Tor: socks5://127.0.0.1:9050. The proxy resolves host names. Connections that must not be linked use different credentials, so that Tor uses different circuits.",
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
            throw CommandError.configuration(
                "--relay-proxy: needs socks5://HOST:PORT without credentials, for example socks5://127.0.0.1:9050"
            )
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
                    throw CommandError.configuration("--ca-file: \(path) contains no certificate")
                }
                configuration.tls.trustRoots = .certificates(certificates)
            } catch let error as CommandError {
                throw error
            } catch {
                throw CommandError.configuration(
                    "--ca-file: cannot read certificates from \(path); needs a readable PEM file"
                )
            }
        }
        return configuration
    }
}
