//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOHTTP1
import TunnelProtocol

/// The page that the HTTP proxy shows when it has no page of the service: which hop failed, and what to try.
enum FailurePage {
    private static let hops = [
        (StreamEnd.Hop.entry, "This proxy", "on your side"), (.relay, "Relay", "passes sealed messages on"),
        (.exit, "Exit", "beside the service"), (.backend, "Service", "what you asked for"),
    ]

    private static let style = """
        ol i { font-style: normal; margin-top: .4rem } .done i { color: var(--good) }
        .failed { border-color: var(--bad) } .failed b, .failed i { color: var(--bad) }
        """

    static func html(_ failure: ProxyFailure, target: TargetAddress) -> String {
        let failed = failure.hop == .name || failure.hop == .stream ? .entry : failure.hop
        let position = Self.hops.firstIndex { $0.0 == failed } ?? 0
        let steps = Self.hops.enumerated().map { index, hop in
            let state = index < position ? "done" : index == position ? "failed" : "open"
            let word = index < position ? "reached" : index == position ? "failed here" : "not reached"
            return "<li class=\"\(state)\"><b>\(hop.1)</b><span>\(hop.2)</span><i>\(word)</i></li>"
        }.joined()
        let advice = failure.advice.map { "<li>\(HTMLPage.escaped($0))</li>" }.joined()
        return HTMLPage.html(
            title: failure.title,
            style: Self.style,
            body: """
                <p>\(HTMLPage.escaped(failure.text.prefix(1).uppercased() + failure.text.dropFirst())).</p>
                <ol>\(steps)</ol>
                <h2>What to try</h2>
                <ul>\(advice)</ul>
                <p class="soft">You asked for</p>
                <p><code>\(HTMLPage.escaped("\(target)"))</code></p>
                """
        )
    }

    static func html(status: HTTPResponseStatus, text: String) -> String {
        HTMLPage.html(
            title: status == .ok ? "nws entry" : status.reasonPhrase,
            body: "<p>\(HTMLPage.escaped(text))</p>"
        )
    }
}

extension ProxyFailure {
    /// A headline for people.
    var title: String {
        if case .ended(.notAllowed) = self { return "The exit does not let you in there" }
        return switch self.hop {
        case .name: "That is not a name this proxy knows"
        case .relay: "No relay leads there"
        case .exit: "The exit does not answer as it should"
        case .backend: "The service does not answer"
        case .stream: "The connection broke off"
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
        case (.notAsked(.noRelays), _):
            [
                "Use the exit's full .nostr name or its nprofile, which say by which relays it is reached.",
                "Or start the entry with --relay and a relay that the exit uses.",
            ]
        case (.ended(.notAllowed), _):
            [
                "Ask whoever runs the exit whether it serves this port, or goes to this place if it is a public exit.",
                "If it admits only keys it knows, start the entry with --identity and send them its npub.",
            ]
        case (.ended(.clockSkew), _), (.notAsked(.offerFailed(.clockSkew, _, _)), _):
            ["Set the clocks of both machines; they differ by minutes."]
        case (_, .name):
            ["Compare the name with what the exit printed: a character is wrong, or missing at an end."]
        case (_, .relay):
            [
                "Check the network of this machine.",
                "Wait a moment: the relay may be restarting.",
                "Ask whoever runs the exit for its newest name; its relays may have changed.",
            ]
        case (_, .exit):
            [
                "Ask whoever runs the exit whether it is running, and connected to the relays in this name.",
                "If it was moved to another key, its name has changed too.",
            ]
        case (_, .backend):
            [
                "The exit is there, and what is behind it is not: if that is a service, ask whoever runs it to start it.",
                "For a place on the internet, check its name and port: the exit cannot find it, or gets no answer.",
            ]
        default:
            ["Try again."]
        }
    }
}
