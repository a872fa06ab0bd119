//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOHTTP1
import TunnelProtocol

/// The page that the HTTP proxy shows when it has no page of the service: which hop failed, and what to try.
enum FailurePage {
    private static let hops = [
        ("entry", "This proxy", "on your side"), ("relay", "Relay", "passes sealed messages on"),
        ("exit", "Exit", "beside the service"), ("backend", "Service", "what you asked for"),
    ]

    static func html(_ failure: ProxyFailure, target: TargetAddress) -> String {
        let failed = failure.hop == "name" || failure.hop == "stream" ? "entry" : failure.hop
        let position = Self.hops.firstIndex { $0.0 == failed } ?? 0
        let steps = Self.hops.enumerated().map { index, hop in
            let state = index < position ? "done" : index == position ? "failed" : "open"
            let word = index < position ? "reached" : index == position ? "failed here" : "not reached"
            return "<li class=\"\(state)\"><b>\(hop.1)</b><span>\(hop.2)</span><i>\(word)</i></li>"
        }.joined()
        let advice = failure.advice.map { "<li>\(Self.escaped($0))</li>" }.joined()
        return Self.page(
            title: failure.title,
            body: """
                <p>\(Self.escaped(failure.text.prefix(1).uppercased() + failure.text.dropFirst())).</p>
                <ol class="path">\(steps)</ol>
                <h2>What to try</h2>
                <ul>\(advice)</ul>
                <p class="soft">You asked for</p>
                <p><code>\(Self.escaped("\(target)"))</code></p>
                """
        )
    }

    static func html(status: HTTPResponseStatus, text: String) -> String {
        Self.page(title: status == .ok ? "nws entry" : status.reasonPhrase, body: "<p>\(Self.escaped(text))</p>")
    }

    private static func escaped(_ text: String) -> String {
        text.prefix(2_000).map { character -> String in
            switch character {
            case "<": "&lt;"
            case ">": "&gt;"
            case "&": "&amp;"
            case "\"": "&quot;"
            default: String(character)
            }
        }.joined()
    }

    private static func page(title: String, body: String) -> String {
        """
        <!doctype html>
        <html lang="en">
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>\(Self.escaped(title))</title>
        <style>
          :root { color-scheme: light dark; --ink: #1b1c22; --soft: #5d6070; --paper: #fbfaf7; --line: #dcd9d0; --good: #2f7d4f; --bad: #b3342d }
          @media (prefers-color-scheme: dark) { :root { --ink: #ecebf2; --soft: #a3a5b5; --paper: #16161c; --line: #34343f; --good: #7fce9c; --bad: #ff8f87 } }
          body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.55 system-ui, sans-serif }
          main { max-width: 44rem; margin: 0 auto; padding: 3rem 1.25rem }
          h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .75rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
          p { margin: 0 0 1rem } .soft { color: var(--soft); margin: 2rem 0 .25rem } ul { margin: 0; padding-left: 1.2rem }
          .path { list-style: none; margin: 1.75rem 0; padding: 0; display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem }
          .path li { border: 1px solid var(--line); border-radius: .6rem; padding: .8rem .9rem }
          .path b, .path span, .path i { display: block } .path span { font-size: .85rem; color: var(--soft) }
          .path i { font-style: normal; font-size: .85rem; margin-top: .4rem; color: var(--soft) }
          .path .done i { color: var(--good) } .path .failed { border-color: var(--bad) } .path .failed b, .path .failed i { color: var(--bad) }
          code { font: .85rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere; background: color-mix(in srgb, var(--line) 45%, transparent); padding: .1rem .3rem; border-radius: .3rem }
        </style>
        <main>
        <h1>\(Self.escaped(title))</h1>
        \(body)
        </main>
        </html>

        """
    }
}

extension ProxyFailure {
    /// A headline for people.
    var title: String {
        switch self.hop {
        case "name": "That is not a name this proxy knows"
        case "relay": "No relay leads there"
        case "exit": "The exit does not answer as it should"
        case "backend": "The service does not answer"
        case "stream": "The connection broke off"
        default: "This proxy cannot connect"
        }
    }

    /// What a person can try, likeliest first.
    var advice: [String] {
        switch (self, self.hop) {
        case (.notAsked(.clearnet), _):
            [
                "Use the service's .nostr name, npub or nprofile.",
                "Let only .nostr names go through this proxy: take the settings from its /proxy.pac.",
            ]
        case (.ended(.notAllowed), _):
            [
                "Ask whoever runs the exit whether it serves this port.",
                "If it admits only keys it knows, start the entry with --identity and send them its npub.",
            ]
        case (.ended(.clockSkew), _), (.notAsked(.offerFailed(.clockSkew, _, _)), _):
            ["Set the clocks of both machines; they differ by minutes."]
        case (_, "name"):
            ["Compare the name with what the exit printed: a character is wrong, or missing at an end."]
        case (_, "relay"):
            [
                "Check the network of this machine.",
                "Wait a moment: the relay may be restarting.",
                "Ask whoever runs the exit for its newest name; its relays may have changed.",
            ]
        case (_, "exit"):
            [
                "Ask whoever runs the exit whether it is running, and connected to the relays in this name.",
                "If it was moved to another key, its name has changed too.",
            ]
        case (_, "backend"):
            [
                "The exit is there, and the service behind it is not: ask whoever runs it to start it.",
                "Check the port you asked for.",
            ]
        default:
            ["Try again."]
        }
    }
}
