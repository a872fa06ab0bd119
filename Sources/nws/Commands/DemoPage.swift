//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport

/// The HTML page of the demo service.
enum DemoPage {
    /// - Parameter host: The Host header field of the request, which contains the .nostr name.
    static func html(host: String) -> String {
        HTMLPage.html(
            title: "This page came through Nostr.",
            style: "ol b { color: var(--mark) }",
            body: """
                <p>The service listens on a loopback address, which other machines cannot reach. The page was carried
                in encrypted, signed events through a relay that cannot read them.</p>
                <ol>
                  <li><b>You</b><span>browser or curl</span></li>
                  <li><b>nws entry</b><span>proxy on this machine</span></li>
                  <li><b>relay</b><span>sees keys and sizes</span></li>
                  <li><b>nws exit</b><span>connects to the service</span></li>
                  <li><b>This page</b><span>no public address, no port forwarding</span></li>
                </ol>
                <p class="soft">Requested host</p>
                <p><code>\(HTMLPage.escaped(String(host.prefix(300))))</code></p>
                <p class="soft">Test downloads: <a href="/bytes/1000">1 kB</a>, <a href="/bytes/1000000">1 MB</a>.</p>
                """
        )
    }
}
