//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import NostrCrypto
import Tunnel
import TunnelProtocol

/// `nws invite`
struct InviteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "invite",
        abstract: "Invite a device to use the services of nws share.",
        discussion: """
            Prints an invite as one line and as a QR code. On the device, nws join reads it. An invite enrols one \
            device, once, and expires. Until it is used, anyone who sees it can use it, so send it over a channel that \
            you trust.

            For an exit that runs as nws exit --allow FILE, give --allow and --exit together.
            """
    )

    @Argument(help: "Name for the device, as nws devices lists it. Default: the name that the device suggests.")
    var device: String?

    @Option(help: ArgumentHelp("Ports that the device may use, for example 22,80. Default: all.", valueName: "ports"))
    var services: String?

    @Option(help: ArgumentHelp("Time until the invite expires, for example 30m, 24h or 7d.", valueName: "time"))
    var expires = "24h"

    @Option(
        help: ArgumentHelp(
            "Alias that the device uses for this exit, unless it chooses another one. Default: that of nws share; with --exit, none.",
            valueName: "alias"
        )
    )
    var label: String?

    @Option(
        help: ArgumentHelp(
            "Access list to which the invite is added: the file given to nws exit --allow. Default: the access list of nws share.",
            valueName: "file"
        )
    )
    var allow: String?

    @Option(help: ArgumentHelp("Name of the exit, with its relays. Default: that of nws share.", valueName: "name"))
    var exit: String?

    @Flag(inversion: .prefixedNo, help: "Print a QR code. Default: only to a terminal.")
    var qr: Bool?

    func run() async throws {
        try await reportingErrors {
            let (name, file, label) = try self.place()
            let ports = try self.ports()
            guard let span = TimeSpan(self.expires) else {
                throw CommandError.failure(
                    "--expires: \(self.expires): needs a number with one unit (s, m, h, d or w), for example 30m, 24h or 7d"
                )
            }
            let secret = InviteSecret.random()
            let expires = Int64(Date().timeIntervalSince1970) + span.seconds
            let code = InviteCode(name: name, secret: secret, label: label, expires: expires).encoded
            guard let decoded = try? InviteCode(code), !decoded.name.relays.isEmpty else {
                throw CommandError.failure(
                    "an invite has no room for the exit's relays, whose URLs are longer than 255 bytes; use shorter ones, or --advertise URL"
                )
            }
            let invite = AuthorizedKeys.Invite(
                secret,
                exit: name.publicKey,
                services: ports,
                expires: expires,
                comment: AuthorizedKeysLine.comment(self.device ?? "")
            )
            try file.edit { lines in
                Self.removeExpired(from: &lines)
                lines.append(AuthorizedKeysLine.invite(invite).text)
            }
            Console.line(
                "On the device, run 'nws join' and paste this line. It enrols one device and expires in \(TimeSpan.text(span.seconds)):"
            )
            Console.line("")
            if self.qr ?? Console.isTerminal { try self.printQRCode(of: code) }
            // Last, so that the line is still on the screen.
            Console.line(code)
        }
    }

    /// The services to which the device is limited. Warns about those that nws share does not have.
    private func ports() throws -> Set<UInt16>? {
        guard let services else { return nil }
        let ports = try DeviceServices(services, option: "--services").ports
        if self.exit == nil, let shared = try ShareState.read()?.services {
            for port in ports.subtracting(shared).sorted() {
                Console.error("nws: --services: nws share has no service for port \(port) now")
            }
        }
        return ports
    }

    private func printQRCode(of code: String) throws {
        do throws(QRCode.EncodingError) {
            let picture = try QRCode(code.uppercased())
            // A wrapped picture cannot be scanned.
            guard self.qr == true || picture.columns <= Console.columns ?? .max else { return }
            for line in picture.lines { Console.line(line) }
            Console.line("")
        } catch {
            Console.error(
                error == .noLibrary
                    ? "nws: for a QR code, install the package libqrencode4 (brew: qrencode)"
                    : "nws: the invite is too long for a QR code"
            )
        }
    }

    /// The exit, the file for the invite, and the alias to suggest.
    private func place() throws -> (NostrName, AuthorizedKeysFile, String) {
        let state = try ShareState.read()
        let label = try self.label.map { text in
            guard let alias = Alias(text) else {
                throw CommandError.failure("--label: \(text): \(AliasCommand.rule)")
            }
            return alias.text
        }
        guard (self.exit == nil) == (self.allow == nil) else {
            throw CommandError.failure("--exit and --allow must be given together")
        }
        if let exit, let allow {
            let name = try NostrName(exit, option: "--exit")
            guard !name.relays.isEmpty else {
                throw CommandError.failure(
                    "--exit: the name has no relays; use the name or the nprofile that the exit prints"
                )
            }
            return (name, AuthorizedKeysFile(path: allow), label ?? "")
        }
        guard let state, let name = state.name else {
            throw CommandError.failure(
                "nws share has not run on this machine as this user; run it first, for example: nws share 22. If it runs as a system service, use sudo"
            )
        }
        return (name, ShareState.devices, label ?? state.label)
    }

    /// Removes invites that expired more than 30 days ago. Until then, a device that uses one is told that it has expired.
    private static func removeExpired(from lines: inout [String]) {
        let now = Int64(Date().timeIntervalSince1970)
        lines.removeAll { text in
            guard case .invite(let invite)? = AuthorizedKeysFile.parse(text), let expires = invite.expires else {
                return false
            }
            return expires + 30 * 86_400 < now
        }
    }
}
