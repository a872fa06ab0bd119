//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser

/// The program: one subcommand for each role.
@main
struct NWS: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nws",
        abstract: "Carry TCP over Nostr relays.",
        discussion: """
            A service behind NAT gets a name made of a public key and relays (nws exit); whoever has the name \
            reaches it through a local SOCKS5 proxy (nws entry). Every byte travels as encrypted, signed Nostr \
            events (NIP-74), through relays that neither side has to trust. nws relay is such a relay.

            Options win over environment variables, and those over a .env file in the working directory.
            """,
        version: Version.text,
        subcommands: [
            RelayCommand.self, ExitCommand.self, EntryCommand.self, KeyCommand.self, NameCommand.self,
            PinsCommand.self,
            DemoServiceCommand.self,
        ]
    )
}

/// The version of this program.
enum Version {
    static let text = "0.1.0"
}
