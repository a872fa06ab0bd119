//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import Nostr
import NostrCrypto
import Tunnel

/// `nws devices`
struct DevicesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "devices",
        abstract: "List, rename and revoke the devices that can use your services.",
        subcommands: [List.self, Rename.self, Revoke.self],
        defaultSubcommand: List.self
    )

    /// The list that the subcommands read or change.
    struct Place: ParsableArguments {
        @Option(
            help: ArgumentHelp(
                "Access list to read or change: the file given to nws exit --allow. Default: the access list of nws share.",
                valueName: "file"
            )
        )
        var allow: String?

        var file: AuthorizedKeysFile { self.allow.map { AuthorizedKeysFile(path: $0) } ?? ShareState.devices }

        /// - Throws: If the file does not exist.
        func existing() throws -> AuthorizedKeysFile {
            guard self.file.exists else {
                throw CommandError.failure(
                    self.allow == nil
                        ? "no device was invited yet; invite one with: nws invite" : "\(self.file.path) does not exist"
                )
            }
            return self.file
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the devices and the open invites.")

        @OptionGroup var place: Place

        func run() async throws {
            try await reportingErrors {
                let access = try self.place.existing().read()
                let now = Int64(Date().timeIntervalSince1970)
                var rows = [["device", "services", "added", "expires", "key"]]
                for (key, grant) in access.grants.sorted(by: {
                    ($0.value.comment, $0.key.hex) < ($1.value.comment, $1.key.hex)
                }) {
                    let expires = grant.expires.map { $0 <= now ? "expired" : AuthorizedKeysLine.text(ofDate: $0) }
                    rows.append([
                        Console.printable(grant.comment.isEmpty ? "-" : grant.comment),
                        grant.services.map(AuthorizedKeysLine.text(of:)) ?? "all",
                        grant.added.map { String(AuthorizedKeysLine.text(ofDate: $0).prefix(10)) } ?? "-",
                        expires ?? "never", key.npub,
                    ])
                }
                for invite in access.invites {
                    let expires = invite.expires.map { $0 <= now ? "expired" : AuthorizedKeysLine.text(ofDate: $0) }
                    rows.append([
                        Console.printable(invite.comment.isEmpty ? "-" : invite.comment),
                        invite.services.map(AuthorizedKeysLine.text(of:)) ?? "all", "-", expires ?? "never",
                        "(invite, not used yet)",
                    ])
                }
                guard rows.count > 1 else {
                    return Console.line("There are no devices and no invites. To invite a device, run: nws invite")
                }
                Console.table(rows)
            }
        }
    }

    struct Rename: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Change the name of a device in the list.")

        @OptionGroup var place: Place
        @Argument(help: "Name or npub of the device.")
        var device: String
        @Argument(help: "The new name.")
        var name: String

        func run() async throws {
            try await reportingErrors {
                let comment = AuthorizedKeysLine.comment(self.name)
                guard !comment.isEmpty else {
                    throw CommandError.failure("\(self.name): a name needs letters or digits")
                }
                try self.place.existing().edit { lines in
                    let found = try DevicesCommand.find(self.device, in: lines)
                    switch found.line {
                    case .key(let key, var grant):
                        grant.comment = comment
                        lines[found.index] = AuthorizedKeysLine.key(key, grant).text
                    case .invite(var invite):
                        invite.comment = comment
                        lines[found.index] = AuthorizedKeysLine.invite(invite).text
                    }
                }
                Console.line("renamed: \(comment)")
            }
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Remove a device or an invite from the list.",
            discussion: """
                A running exit ends the device's sessions within seconds, and its tickets become useless. All invites \
                that have the name are removed, too.
                """
        )

        @OptionGroup var place: Place
        @Argument(help: "Name or npub of the device, or name of an invite; - for invites without a name.")
        var device: String

        func run() async throws {
            try await reportingErrors {
                let removed = try self.place.existing().edit { lines in
                    let found = DevicesCommand.all(self.device, in: lines)
                    let devices = found.filter { if case .key = $0.line { true } else { false } }
                    try DevicesCommand.check(devices.isEmpty ? min(found.count, 1) : devices.count, self.device)
                    for index in found.map(\.index).reversed() { lines.remove(at: index) }
                    return found.map(\.line)
                }
                for line in removed {
                    switch line {
                    case .key(let key, let grant):
                        Console.line(Console.printable("revoked: \(grant.comment) \(key.npub)"))
                    case .invite(let invite):
                        Console.line(
                            Console.printable("revoked: invite \(invite.comment.isEmpty ? "-" : invite.comment)")
                        )
                    }
                }
            }
        }
    }

    /// Finds the lines of devices and invites by their name or key.
    private static func all(_ text: String, in lines: [String]) -> [(index: Int, line: AuthorizedKeysLine)] {
        let wanted = PublicKey(userText: text)
        return lines.enumerated().compactMap { index, line -> (index: Int, line: AuthorizedKeysLine)? in
            guard let parsed = AuthorizedKeysFile.parse(line) else { return nil }
            func isNamed(_ comment: String) -> Bool { (comment.isEmpty ? "-" : comment) == text }
            let isFound =
                switch parsed {
                case .key(let key, let grant): wanted.map { $0 == key } ?? isNamed(grant.comment)
                case .invite(let invite): wanted == nil && isNamed(invite.comment)
                }
            return isFound ? (index, parsed) : nil
        }
    }

    /// Finds one line by a name or key: that of a device, else that of an invite.
    private static func find(_ text: String, in lines: [String]) throws -> (index: Int, line: AuthorizedKeysLine) {
        let found = Self.all(text, in: lines)
        let devices = found.filter { if case .key = $0.line { true } else { false } }
        let candidates = devices.isEmpty ? found : devices
        try Self.check(candidates.count, text)
        return candidates[0]
    }

    /// - Throws: If the number of lines that were found is not one.
    private static func check(_ count: Int, _ text: String) throws {
        switch count {
        case 1: break
        case 0: throw CommandError.failure("no device has the name or key \(text); nws devices lists them")
        default:
            throw CommandError.failure(
                "\(count) devices or invites have the name \(text); give the npub of the device"
            )
        }
    }
}
