//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOHTTP1
import TunnelProtocol

/// The page that the HTTP proxy sends when a request fails: which hop failed, and what to try.
enum FailurePage {
    private static let hops = [
        (StreamEnd.Hop.entry, "This proxy", "on your side"), (.relay, "Relay", "forwards encrypted messages"),
        (.exit, "Exit", "next to the service"), (.backend, "Service", "what you requested"),
    ]

    private static let style = """
        ol i { font-style: normal; margin-top: .4rem } .done i { color: var(--good) }
        .failed { border-color: var(--bad) } .failed b, .failed i { color: var(--bad) }
        """

    static func html(_ failure: ProxyFailure, target: TargetAddress, remedyText: (Remedy) -> String) -> String {
        let failed = failure.hop == .name || failure.hop == .stream ? .entry : failure.hop
        let position = Self.hops.firstIndex { $0.0 == failed } ?? 0
        let steps = Self.hops.enumerated().map { index, hop in
            let state = index < position ? "done" : index == position ? "failed" : "open"
            let word = index < position ? "reached" : index == position ? "failed here" : "not reached"
            return "<li class=\"\(state)\"><b>\(hop.1)</b><span>\(hop.2)</span><i>\(word)</i></li>"
        }.joined()
        let advice = failure.advice(remedyText).map { "<li>\(HTMLPage.escaped($0))</li>" }.joined()
        return HTMLPage.html(
            title: failure.title,
            style: Self.style,
            body: """
                <p>\(HTMLPage.escaped(failure.text.prefix(1).uppercased() + failure.text.dropFirst())).</p>
                <ol>\(steps)</ol>
                <h2>What to try</h2>
                <ul>\(advice)</ul>
                <p class="soft">Requested target</p>
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
    /// The headline of the page.
    var title: String {
        if self.isEndOfAccess { return "This device's access was revoked or has expired" }
        if self.isDenial { return "The exit does not allow this" }
        return switch self.hop {
        case .name: "Not a valid name"
        case .relay: "No relay is reachable"
        case .exit: "The exit does not answer"
        case .backend: "The service does not answer"
        case .stream: "The connection was interrupted"
        default: "This proxy cannot connect"
        }
    }

    /// Suggestions for the user, the most likely first.
    fileprivate func advice(_ remedyText: (Remedy) -> String) -> [String] {
        switch (self, self.hop) {
        case (.notRequested(.clearnet), _):
            [
                "Use the service's .nostr name, npub or nprofile.",
                "Send only .nostr names through this proxy: the browser can load its /proxy.pac.",
                "To reach other targets through this proxy, \(remedyText(.exit)).",
            ]
        case (.notRequested(.noRelays), _):
            [
                "Use the exit's full .nostr name or its nprofile, which contain its relays.",
                "Or \(remedyText(.relays)).",
            ]
        case (.refusedToDevice, _):
            [
                "Check the port. Ask the exit's owner which services this device can use; at the exit, nws devices lists them.",
                "If this service is missing, ask the owner for a new invite that includes it.",
            ]
        case _ where self.isEndOfAccess:
            ["To use the exit again, \(remedyText(.invite))."]
        case (.ended(.notAllowed), _), (.notRequested(.offerFailed(.notAllowed, _, _)), _):
            [
                "Ask the exit's owner whether the exit serves this port, or allows this target if it is a public exit.",
                "If the exit accepts only known keys, \(remedyText(.identity)).",
            ]
        case (.ended(.clockSkew), _), (.notRequested(.offerFailed(.clockSkew, _, _)), _):
            ["Correct the clocks of both machines. They differ by minutes."]
        case (.notRequested(.unknownAlias), _):
            [
                "List the aliases of this machine: nws alias.",
                "Make one with nws join, if you have an invite, or with nws alias add.",
                "If this is meant to be a full name, it is too short: compare it with the one that the exit printed.",
            ]
        case (_, .name):
            ["Compare the name with the one that the exit printed: it is incomplete, or a character is wrong."]
        case (_, .relay):
            [
                "Check the network of this machine.",
                "Try again in a moment: the relay may be restarting.",
                "Ask the exit's owner for its current name: its relays may have changed.",
            ]
        case (_, .exit):
            [
                "Ask the exit's owner whether the exit is running, and connected to the relays of this name.",
                "If the exit accepts only known keys, it does not answer others: \(remedyText(.identity)).",
                "Compare the clocks of both machines: an exit does not answer requests whose date is off by minutes.",
                "If the exit has a new key, use its new name.",
            ]
        case (_, .backend):
            [
                "The exit is running, but cannot connect to its service. Ask the exit's owner whether the service is running.",
                "For a target on the internet, check its name and port.",
            ]
        default:
            ["Try again."]
        }
    }
}
