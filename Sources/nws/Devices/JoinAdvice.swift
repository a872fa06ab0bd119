//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Tunnel
import TunnelProtocol

/// What `nws join` prints when a device is enrolled: the alias, the services, and lines to paste.
enum JoinAdvice {
    /// Maximum number of services for which a URL is printed.
    private static let maximumURLs = 4

    /// - Parameters:
    ///   - entry: The exit, with its services.
    ///   - servesOthers: Whether the exit has services on other ports, too.
    ///   - isKnown: Whether the exit has said which services it has.
    static func print(_ entry: AliasEntry, servesOthers: Bool, isKnown: Bool) {
        let domain = entry.alias.domain
        Console.line(isKnown ? "enrolled: \(entry.alias)" : "enrolled before: \(entry.alias)")
        if entry.name.hasUsableText { Console.line("name: \(entry.name.encoded)") }
        let ports = entry.services.map(String.init).joined(separator: ",")
        let others = servesOthers ? (ports.isEmpty ? "all ports" : " and all other ports") : ""
        Console.line(isKnown ? "services: \(ports)\(others)" : "services: unknown; this device was enrolled before")
        Console.line("")
        if entry.services.isEmpty && !servesOthers {
            return Console.line("The exit has no service for this device.")
        }
        let web = entry.services.filter { $0 != 22 }
        if entry.services.contains(22) || servesOthers {
            Console.line("ssh, without further setup:")
            Console.line("  ssh -o ProxyCommand='\(Installation.command) connect %h:%p' USER@\(domain)")
            Console.line("or, after '\(Installation.typed) ssh-config --install':")
            Console.line("  ssh USER@\(domain)")
            Console.line("")
        }
        guard !web.isEmpty || servesOthers else { return }
        let proxy = "127.0.0.1:\(EntryConfiguration.defaultPort)"
        Console.line("Web, while '\(Installation.typed) entry' runs:")
        let urls =
            web.isEmpty
            ? ["http://\(domain)/"]
            : web.prefix(Self.maximumURLs).map { port in
                // The certificate of an exit is valid for its full name.
                port == 443
                    ? "https://\(entry.name.hasUsableText ? entry.name.encoded : domain)/"
                    : "http://\(domain)\(port == 80 ? "" : ":\(port)")/"
            }
        for url in urls { Console.line("  curl --proxy socks5h://\(proxy) \(url)") }
        Console.line("  chromium --proxy-pac-url=http://\(proxy)/proxy.pac \(urls[0])")
        Console.line("")
        Console.line("Programs without a proxy setting:")
        let other = web.first { ![80, 443].contains($0) } ?? web.first ?? 5432
        Console.line(
            "  \(Installation.typed) forward 127.0.0.1:\(other < 1_024 ? 8_000 + other % 1_000 : other) \(entry.alias):\(other)"
        )
    }
}
