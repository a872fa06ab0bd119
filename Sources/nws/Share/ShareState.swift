//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import Nostr
import SettingsFiles
import Tunnel
import TunnelProtocol

/// What `nws share` remembers: its name, relays and services. Other commands on this machine read it.
struct ShareState: Codable, Equatable {
    /// The name of the exit as an nprofile.
    var nprofile = ""
    /// The name that devices are offered as an alias.
    var label = ""
    /// The relays that were chosen from the list of public relays; empty if the user named some.
    var chosenRelays: [String] = []
    /// The ports of the services.
    var services: [UInt16] = []
    /// Whether the user was told where the key is. Nil if not.
    var keyWasShown: Bool?

    private static var path: String { KeyFile.stateFolder() + "/share.json" }

    /// The file with the devices that may use the services.
    static var devices: AuthorizedKeysFile { AuthorizedKeysFile(path: KeyFile.stateFolder() + "/devices") }

    /// The state; nil if `nws share` has not run yet.
    static func read() throws -> ShareState? {
        guard FileManager.default.fileExists(atPath: Self.path) else { return nil }
        try CommandError.explainingFiles { try FileOwnership.checkNotWritableByAll(Self.path) }
        guard let data = FileManager.default.contents(atPath: Self.path),
            let state = try? JSONDecoder().decode(ShareState.self, from: data)
        else {
            throw CommandError.configuration(
                "\(Self.path) cannot be read, or is damaged. It contains the chosen relays, and neither the key nor the devices. Remove it, and run nws share again"
            )
        }
        return state
    }

    func save() throws {
        try KeyFile.makeFolder(KeyFile.stateFolder())
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        do {
            try StateFile.save(Array(try encoder.encode(self)), to: Self.path)
        } catch {
            throw CommandError.failure("cannot write \(Self.path): \(error)")
        }
    }

    /// The name of the exit.
    var name: NostrName? { try? NostrName(self.nprofile) }

    /// The relays that were chosen from the list of public relays.
    var relays: [RelayURL] { self.chosenRelays.prefix(Self.maximumRelays).compactMap { try? RelayURL($0) } }

    /// Maximum number of relays. A session has as many paths.
    private static let maximumRelays = 16
}
