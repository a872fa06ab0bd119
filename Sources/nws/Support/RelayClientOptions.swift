//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import HTTPTransport
import NIOSSL
import Nostr
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

    @Option(
        help: ArgumentHelp(
            "Maximum number of events per minute that this process sends to each relay on the public relay list. Events are limited to 16 KiB there. 0 removes both limits; use it only for relays that you operate.",
            valueName: "count"
        )
    )
    var publicRelayBudget = 120

    @Option(
        help: ArgumentHelp(
            "File with a public relay list, instead of the one that ships with nws: one relay URL or stun:HOST:PORT per line.",
            valueName: "file"
        )
    )
    var relayList: String?

    /// The list of public relays.
    func list() throws -> PublicRelayList {
        try self.relayList.map { try PublicRelayList(path: $0) } ?? .shipped
    }

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
        guard (0...1_000_000).contains(self.publicRelayBudget) else {
            throw CommandError.configuration("--public-relay-budget: must be between 0 and 1000000")
        }
        if self.publicRelayBudget > 0 {
            configuration.budget = EventBudget(eventsPerMinute: self.publicRelayBudget)
            configuration.budgetedRelays = Set(try self.list().entries.map(\.url))
        }
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
