//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto
import TunnelProtocol

/// An alias with what it stands for.
struct AliasEntry: Hashable {
    var alias: Alias
    /// The exit and its relays.
    var name: NostrName
    /// Ports of the services that the exit offered to this device; empty if they are not known.
    var services: [UInt16] = []
    /// The NIP-05 address from which the name was resolved; nil if there was none.
    var source: String?

    init(alias: Alias, name: NostrName) {
        self.alias = alias
        self.name = name
    }

    /// Parses a line. Returns nil if it is invalid. Unknown fields are ignored.
    init?(line: Substring) {
        let words = line.split { $0.isWhitespace }
        guard words.count >= 2, let alias = Alias(String(words[0])), let name = try? NostrName(String(words[1])) else {
            return nil
        }
        self.init(alias: alias, name: name)
        for word in words.dropFirst(2) {
            let parts = word.split(separator: "=", maxSplits: 1)
            guard parts.count == 2 else { continue }
            switch parts[0] {
            case "services": self.services = parts[1].split(separator: ",").compactMap { UInt16($0) }
            case "source": self.source = String(parts[1])
            default: break
            }
        }
    }

    /// The line in the file.
    var line: String {
        var words = [self.alias.text, self.name.nprofile]
        if !self.services.isEmpty { words.append("services=" + self.services.map(String.init).joined(separator: ",")) }
        if let source { words.append("source=" + source) }
        return words.joined(separator: " ")
    }

    /// The file with the key by which the exit knows this device. It exists if the device was enrolled.
    var identityFile: KeyFile { Self.identityFile(for: self.name.publicKey) }

    /// The file with this device's key for an exit.
    static func identityFile(for exit: PublicKey) -> KeyFile {
        KeyFile(path: "\(KeyFile.stateFolder())/identities/\(exit.hex.prefix(16))")
    }
}
