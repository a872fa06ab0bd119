//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr

/// The values of the option `--advertise`.
enum AdvertisedRelays {
    /// Returns the URL to publish (`--advertise`) for each relay that has one, by the URL that the exit uses.
    static func parse(_ options: [String], relays: [RelayURL]) throws -> [RelayURL: RelayURL] {
        var advertised: [RelayURL: RelayURL] = [:]
        for text in options {
            let own: RelayURL
            let address: RelayURL
            // A URL can contain `=` itself, so split where a URL with the scheme ws or wss follows.
            if let split = text.firstRange(of: "=ws"), let first = try? RelayURL(String(text[..<split.lowerBound])) {
                own = first
                address = try Settings.relay(
                    String(text[text.index(after: split.lowerBound)...]),
                    source: "--advertise"
                )
                guard relays.contains(own) else {
                    throw CommandError.configuration("--advertise: \(own) is not one of the relays given with --relay")
                }
            } else {
                address = try Settings.relay(text, source: "--advertise")
                guard relays.count == 1, let only = relays.first else {
                    throw CommandError.configuration(
                        "--advertise: \(text): must name one of the \(relays.count) relays, as in RELAY=\(text)"
                    )
                }
                own = only
            }
            guard advertised.updateValue(address, forKey: own) == nil else {
                throw CommandError.configuration("--advertise: \(own) is given more than once")
            }
        }
        return advertised
    }
}
