//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The page that the demo's service shows.
enum DemoPage {
    /// - Parameter host: The Host field of the request: the name under which the page was reached.
    static func html(host: String) -> String {
        let shown = host.prefix(300).map { character -> String in
            switch character {
            case "<": "&lt;"
            case ">": "&gt;"
            case "&": "&amp;"
            case "\"": "&quot;"
            default: String(character)
            }
        }.joined()
        return """
            <!doctype html>
            <html lang="en">
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>nws demo</title>
            <style>
              :root { color-scheme: light dark; --ink: #1b1c22; --soft: #5d6070; --paper: #fbfaf7; --line: #dcd9d0; --mark: #6a3fc4 }
              @media (prefers-color-scheme: dark) { :root { --ink: #ecebf2; --soft: #a3a5b5; --paper: #16161c; --line: #34343f; --mark: #b497f2 } }
              body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.55 system-ui, sans-serif }
              main { max-width: 42rem; margin: 0 auto; padding: 3rem 1.25rem }
              h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .75rem }
              p { margin: 0 0 1rem } .soft { color: var(--soft) }
              ol { list-style: none; margin: 2rem 0; padding: 0; display: grid; grid-template-columns: repeat(auto-fit, minmax(7rem, 1fr)); gap: .75rem }
              li { border: 1px solid var(--line); border-radius: .6rem; padding: .8rem .9rem }
              li b { display: block; color: var(--mark) } li span { font-size: .85rem; color: var(--soft) }
              code { font: .85rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere; background: color-mix(in srgb, var(--line) 45%, transparent); padding: .1rem .3rem; border-radius: .3rem }
            </style>
            <main>
              <h1>This page came through Nostr.</h1>
              <p>The service that made it listens on a loopback port that nothing outside can reach. Every byte
              of it travelled as encrypted, signed events through a relay that can read none of them.</p>
              <ol>
                <li><b>You</b><span>browser or curl</span></li>
                <li><b>nws entry</b><span>SOCKS5 on this machine</span></li>
                <li><b>relay</b><span>sees keys and sizes</span></li>
                <li><b>nws exit</b><span>beside the service</span></li>
                <li><b>This page</b><span>no address, no port-forward</span></li>
              </ol>
              <p class="soft">You asked for</p>
              <p><code>\(shown)</code></p>
              <p class="soft">More to fetch: <a href="/bytes/1000">1 kB</a>, <a href="/bytes/1000000">1 MB</a>.</p>
            </main>
            </html>

            """
    }
}
