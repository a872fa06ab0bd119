//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import Logging
import NIOCore
import Nostr
import NostrCrypto
import Tunnel
import TunnelProtocol

/// `nws join`
struct JoinCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "join",
        abstract: "Enrol this device with an invite.",
        discussion: """
            Reads an invite (the line that nws invite printed) from the terminal or from standard input. An invite \
            cannot be given as an argument, because other users of this machine can see arguments. Creates a key for \
            this device, enrols it, and saves an alias. Prints commands that use the services.
            """
    )

    @Option(
        name: .customLong("as"),
        help: ArgumentHelp(
            "Alias for the exit. Default: one that the exit has, else the one that the invite suggests, else home; a number is added if another exit has it.",
            valueName: "alias"
        )
    )
    var alias: String?

    @Option(help: "Name of this device in the exit's list, if the invite has none. Default: the host name.")
    var deviceName: String?

    @OptionGroup var relayClient: RelayClientOptions

    @Option(help: "Minimum level of log messages: trace, debug, info, notice, warning, error.")
    var logLevel: CommonOptions.LogLevel = .error

    @Argument(help: .hidden)
    var unexpected: [String] = []

    /// Maximum length of the line in bytes.
    private static let maximumLine = 16_384

    func run() async throws {
        try await reportingErrors {
            guard self.unexpected.isEmpty else {
                throw CommandError.failure(
                    "an invite cannot be given as an argument: other users of this machine can see it, and it stays in the history of your shell. Run 'nws join' and paste it. If others use this machine, ask for a new invite"
                )
            }
            let wanted = try self.alias.map { try AliasCommand.alias($0) }
            // Before the invite is used, which a damaged file would waste.
            _ = try AliasFile.stateFile().read()
            let invite = try Self.readInvite()
            guard invite.expires.map({ $0 > Int64(Date().timeIntervalSince1970) }) ?? true else {
                throw CommandError.failure("the invite has expired; ask for another one (nws invite)")
            }
            guard !invite.name.relays.isEmpty else {
                throw CommandError.failure("the invite contains no relay; ask for another one (nws invite)")
            }
            // Before the invite is used.
            if let wanted, let other = try AliasFile.stateFile().entry(wanted),
                other.name.publicKey != invite.name.publicKey
            {
                throw Self.clash(wanted)
            }
            let services = try await self.enrol(invite)
            let entry = try self.save(invite, services, as: wanted)
            // An exit that knew the device already has not said which services it has.
            let mayServeAny = entry.services.isEmpty && services == nil
            JoinAdvice.print(entry, servesOthers: services?.servesOthers ?? mayServeAny, isKnown: !mayServeAny)
        }
    }

    // MARK: Reading

    private static func readInvite() throws -> InviteCode {
        do {
            guard isatty(0) == 1 else {
                let data = try FileHandle.standardInput.read(upToCount: Self.maximumLine) ?? Data()
                return try InviteCode(pasted: String(decoding: data, as: UTF8.self))
            }
            Console.error("Paste the invite and press Return:")
            return try Self.readFromTerminal()
        } catch let error as InviteCode.DecodingError {
            throw CommandError.failure("\(error)")
        } catch {
            throw CommandError.failure("cannot read standard input: \(errorReason(error))")
        }
    }

    /// Reads lines until they contain an invite, because a message may have wrapped it.
    private static func readFromTerminal() throws -> InviteCode {
        var text = ""
        while true {
            let line = readLine() ?? ""
            text += line + "\n"
            do throws(InviteCode.DecodingError) {
                return try InviteCode(pasted: text)
            } catch {
                guard error == .damaged, !line.isEmpty, text.utf8.count < Self.maximumLine else { throw error }
                Console.error(
                    "The invite is incomplete, or has a wrong character. Paste the rest, or press Return to end:"
                )
            }
        }
    }

    // MARK: Enrolling

    /// Enrols this device. Returns the services, or nil if the exit knew the device already.
    private func enrol(_ invite: InviteCode) async throws -> EnrolmentAnswer.Services? {
        let exit = invite.name.publicKey
        // Saved before it is sent, so that the exit never knows a key that this device has lost.
        let file = AliasEntry.identityFile(for: exit)
        let hadKey = file.exists
        let identity = try file.readOrCreate()
        let isRepeated = try UsedInvites(beside: file).markUsed(invite)
        let logger = Logger.console("nws.join", self.logLevel.level)
        var configuration = EntryConfiguration()
        configuration.servesProxy = false
        configuration.relayClient = try self.relayClient.configuration()
        configuration.protocolChoice = .session
        configuration.remedyText = EntryOptions.text(of:)
        configuration.invites[exit] = invite.secret
        Console.error("Connecting through \(invite.name.relays.map(\.text).joined(separator: ", ")) …")
        let service = try await EntryOptions.start(configuration, logger: logger)
        do {
            let answer = try await service.enrol(
                with: invite.name,
                invite: invite.secret,
                identity: identity,
                deviceName: self.deviceName ?? Self.hostName
            )
            try? await service.stop()
            switch answer {
            case .enrolled(let services): return services
            case .refused(.revoked) where isRepeated:
                if try await self.isKnown(identity, to: invite.name, logger) { return nil }
                throw try Self.refused(.revoked, invite, beside: file)
            case .refused(let reason): throw try Self.refused(reason, invite, beside: file)
            }
        } catch let failure as StreamFailure {
            try? await service.stop()
            guard let cause = failure.cause else { throw CommandError.failure("\(failure.reason)") }
            // An earlier attempt, or this one, may have enrolled the device, and the answer was lost. An exit that was
            // restarted does not answer a used invite.
            let mayBeEnrolled = isRepeated || cause != .revoked && cause != .expired
            if mayBeEnrolled, try await self.isKnown(identity, to: invite.name, logger) {
                // A device that was enrolled before cannot tell whether the exit has accepted this invite.
                if isRepeated || !hadKey { return nil }
                try UsedInvites(beside: file).remove(invite)
                throw CommandError.failure(
                    "no answer to this invite, which may have been used or revoked. This device was enrolled before, and still is"
                )
            }
            throw cause == .revoked || cause == .expired
                ? try Self.refused(cause, invite, beside: file) : Self.failure(cause)
        }
    }

    /// Forgets that this device has used an invite, because the exit has refused it, and returns the error.
    private static func refused(
        _ reason: StreamEnd,
        _ invite: InviteCode,
        beside file: KeyFile
    ) throws -> CommandError {
        try UsedInvites(beside: file).remove(invite)
        return Self.failure(reason)
    }

    /// Whether the exit knows this device: an earlier attempt enrolled it, but the answer was lost.
    private func isKnown(_ identity: SecretKey, to exit: NostrName, _ logger: Logger) async throws -> Bool {
        var configuration = EntryConfiguration()
        configuration.servesProxy = false
        configuration.relayClient = try self.relayClient.configuration()
        configuration.protocolChoice = .session
        configuration.identities[exit.publicKey] = identity
        let service = try await EntryOptions.start(configuration, logger: logger)
        let isKnown: Bool
        do {
            _ = try await service.probe(TargetAddress(host: .domain(exit.nprofile), port: 0))
            isKnown = true
        } catch let failure as StreamFailure {
            // Port 0 is never a service. The exit answers not-allowed to a device that it knows, and nothing to others.
            isKnown = failure.cause == .notAllowed
        }
        try? await service.stop()
        return isKnown
    }

    private static func failure(_ reason: StreamEnd) -> CommandError {
        switch reason {
        case .revoked: .failure("the invite was used by another device, or revoked; ask for another one (nws invite)")
        case .expired: .failure("the invite has expired; ask for another one (nws invite)")
        case .notAllowed: .failure("the exit does not accept this invite; ask for another one (nws invite)")
        case .unreachable: .failure("the exit could not save this device; its log says why")
        case .exitSilent, .sessionRequired:
            .failure(
                "no answer from the exit: it is offline, or this device is not authorized, because the exit does not know this invite. Check that nws share is running there, or ask for a new invite (nws invite)"
            )
        default: .failure("\(reason)")
        }
    }

    /// The first label of this machine's name.
    private static var hostName: String {
        String(ProcessInfo.processInfo.hostName.split(separator: ".").first ?? "")
    }

    // MARK: Saving

    private func save(
        _ invite: InviteCode,
        _ services: EnrolmentAnswer.Services?,
        as wanted: Alias?
    ) throws -> AliasEntry {
        try AliasFile.stateFile().edit { entries in
            let exit = invite.name.publicKey
            let old = entries.first { $0.name.publicKey == exit }
            let suggested = wanted ?? old?.alias ?? Alias(invite.label) ?? Alias("home")
            guard let suggested else { throw CommandError.failure("no alias: use --as ALIAS") }
            let alias = try Self.free(suggested, for: exit, isWanted: wanted != nil, entries)
            // All aliases of the exit get its current relays and services.
            for index in entries.indices where entries[index].name.publicKey == exit {
                entries[index].name = invite.name
                entries[index].services = services?.ports ?? entries[index].services
            }
            if let known = entries.first(where: { $0.alias == alias }) { return known }
            var entry = AliasEntry(alias: alias, name: invite.name)
            entry.services = services?.ports ?? old?.services ?? []
            entries.append(entry)
            return entry
        }
    }

    /// An alias that no other exit has: the suggested one, or with a number.
    private static func free(
        _ suggested: Alias,
        for exit: PublicKey,
        isWanted: Bool,
        _ entries: [AliasEntry]
    ) throws -> Alias {
        func isFree(_ alias: Alias) -> Bool {
            entries.allSatisfy { $0.alias != alias || $0.name.publicKey == exit }
        }
        if isFree(suggested) { return suggested }
        guard !isWanted else {
            throw Self.clash(suggested)
        }
        Console.error(
            "nws: the alias \(suggested) stands for another exit, so a number is added; --as chooses another alias"
        )
        for number in 2...AliasFile.maximumCount + 1 {
            if let alias = Alias(suggested.text.prefix(Alias.maximumLength - 5) + "\(number)"), isFree(alias) {
                return alias
            }
        }
        return suggested
    }

    private static func clash(_ alias: Alias) -> CommandError {
        .failure(
            "--as: the alias \(alias) stands for another exit; choose another one, or remove it with nws alias remove"
        )
    }
}
