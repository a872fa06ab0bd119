//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport

/// The page that the demo's service shows.
enum DemoPage {
    /// - Parameter host: The Host field of the request: the name under which the page was reached.
    static func html(host: String) -> String {
        HTMLPage.html(
            title: "This page came through Nostr.",
            style: "ol b { color: var(--mark) }",
            body: """
                <p>The service that made it listens on a loopback port that nothing outside can reach. Every byte
                of it travelled as encrypted, signed events through a relay that can read none of them.</p>
                <ol>
                  <li><b>You</b><span>browser or curl</span></li>
                  <li><b>nws entry</b><span>proxy on this machine</span></li>
                  <li><b>relay</b><span>sees keys and sizes</span></li>
                  <li><b>nws exit</b><span>beside the service</span></li>
                  <li><b>This page</b><span>no address, no port-forward</span></li>
                </ol>
                <p class="soft">You asked for</p>
                <p><code>\(HTMLPage.escaped(String(host.prefix(300))))</code></p>
                <p class="soft">More to fetch: <a href="/bytes/1000">1 kB</a>, <a href="/bytes/1000000">1 MB</a>.</p>
                """
        )
    }
}
