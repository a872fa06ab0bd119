//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import TunnelProtocol

/// The page that an entry shows at its own address: how to use it, and the exits that have an alias.
struct EntryHomePage {
    /// An exit with an alias.
    struct Exit {
        let alias: Alias
        let name: NostrName
        /// The services that the exit offered to this device; empty if they are not known.
        let services: [UInt16]
    }

    /// The exits in the order of their aliases.
    let exits: [Exit]
    /// `HOST:PORT` of the proxy, as the client reaches it.
    let address: String
    /// Whether the page lists the exits: only to programs of this machine, and if the Host field is `localhost` or a loopback
    /// address. Another site could point its own host name at this machine and read the page (DNS rebinding).
    let listsExits: Bool

    /// - Parameters:
    ///   - host: The Host field of the request.
    ///   - isLocal: Whether the client is a program of this machine, and needs no password.
    init(exits: [Exit], address: String, host: String?, isLocal: Bool) {
        self.exits = exits.sorted { $0.alias.text < $1.alias.text }
        self.address = address
        let name = TargetAddress.parts(of: host ?? "")?.host ?? host ?? ""
        let isLoopback = (try? SocketAddress(ipAddress: name, port: 0)).map { AddressClass($0) == .loopback } ?? false
        self.listsExits = isLocal && (name == "localhost" || isLoopback)
    }

    private static let style = """
        table { width: 100%; border-collapse: collapse } td, th { text-align: left; padding: .35rem .6rem .35rem 0; vertical-align: top; border-top: 1px solid var(--line) }
        th { font-weight: 500; color: var(--soft); border-top: 0 } pre { margin: 0 0 1rem; padding: .7rem .9rem; overflow-x: auto; border: 1px solid var(--line); border-radius: .6rem }
        pre code { background: none; padding: 0 } a { color: var(--mark) }
        """

    var html: String {
        let proxy = HTMLPage.escaped(self.address)
        let example = self.listsExits ? self.exits.first?.alias.domain ?? "NAME" : "NAME"
        return HTMLPage.html(
            title: "nws entry",
            style: Self.style,
            body: """
                <p>This is a proxy for <code>.nostr</code> names. It accepts SOCKS5, SOCKS4a and HTTP at <code>\(proxy)</code>. Programs on this machine use it as shown below.</p>
                \(self.table)
                <h2>Browser</h2>
                <p>Set <a href="/proxy.pac">http://\(proxy)/proxy.pac</a> as the address of the automatic proxy configuration. Only <code>.nostr</code> names then use this proxy. Or start Chromium with it:</p>
                <pre><code>chromium --proxy-pac-url=http://\(proxy)/proxy.pac http://\(example)/</code></pre>
                <h2>Programs</h2>
                <pre><code>curl --proxy socks5h://\(proxy) http://\(example)/
                git -c http.proxy=socks5h://\(proxy) clone http://\(example)/project.git
                ssh -o ProxyCommand='nws connect %h:%p' USER@\(example)
                nws forward 127.0.0.1:5432 \(example):5432</code></pre>
                <p>The <code>h</code> in <code>socks5h</code> lets the proxy resolve the name. With <code>curl --socks5</code> curl looks the name up itself, and fails: use <code>--socks5-hostname</code>.</p>
                <h2>HTTPS</h2>
                <p><code>https://</code> works if the exit serves port 443. A certificate that the exit made (<code>nws exit --tls</code>) is valid for its full name, and not for an alias. <code>nws cert NAME</code> prints the certificate authority that the browser must trust.</p>
                """
        )
    }

    private var table: String {
        guard self.listsExits else { return "" }
        guard !self.exits.isEmpty else {
            return "<p>No exit has an alias on this machine. <code>nws join</code> makes one from an invite.</p>"
        }
        let rows = self.exits.map { exit -> String in
            let domain = HTMLPage.escaped(exit.alias.domain)
            let services = exit.services.map { port -> String in
                switch port {
                case 80: "<a href=\"http://\(domain)/\">80</a>"
                case 443: "<a href=\"https://\(HTMLPage.escaped(exit.name.encoded))/\">443</a> (full name)"
                default: "\(port)"
                }
            }
            return """
                <tr><td><a href="http://\(domain)/">\(domain)</a></td><td>\(services.isEmpty ? "unknown" : services.joined(separator: ", "))</td><td><code>\(HTMLPage.escaped(exit.name.encoded))</code></td></tr>
                """
        }
        return "<table><tr><th>Alias</th><th>Services</th><th>Full name</th></tr>\(rows.joined())</table>"
    }
}
