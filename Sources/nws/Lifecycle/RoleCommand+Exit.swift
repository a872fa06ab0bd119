//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import Logging
import NIOCore
import NIOPosix
import Nostr
import NostrCrypto
import Observability
import Tunnel
import TunnelProtocol

/// The implementation shared by the roles that run an exit.
extension RoleCommand where Running == ExitService, Configuration == ExitConfiguration {
    static func proxyScript(_ running: ExitService) -> String? { nil }

    static func name(of running: ExitService) -> String { running.name.text }

    static func report(_ running: ExitService, into report: inout StatusReport) async {
        // This fails only while the process ends.
        guard let status = try? await running.status() else { return }
        report.take(status)
    }

    func probe(_ configuration: ExitConfiguration, _ probe: inout ConfigurationProbe) async {
        if let path = configuration.auditFile { probe.checkWritable(path, "--audit-log", isRequired: true) }
        for path in [configuration.replayFile, configuration.ticketFile, configuration.revokedFile].compactMap({ $0 }) {
            probe.checkWritable(path, "state", isRequired: false)
        }
        // Devices can enrol only if the exit can change the list.
        for path in self.watchedFiles where configuration.access?.invites.isEmpty == false {
            probe.checkWritable(path, "list with invites", isRequired: false)
        }
        await probe.checkServices(configuration.services)
    }

    static func reload(_ running: ExitService, _ configuration: ExitConfiguration, logger: Logger) async throws {
        let before = running.name
        guard configuration.secretKey.publicKey == before.publicKey else {
            throw CommandError.configuration("the exit's key has changed; restart the exit to use the new key")
        }
        try await running.update(configuration)
        if running.name != before {
            logger.notice("the exit's name has changed", metadata: ["name": "\(running.name.text)"])
        }
    }

    static func stop(_ running: ExitService, timeout: TimeAmount, logger: Logger) async throws {
        try await running.stop(timeout: timeout)
        logger.info("\(Self.configuration.commandName ?? "") stopped")
    }

    /// Starts an exit and waits until the first relay has accepted its subscription.
    static func startExit(
        _ configuration: ExitConfiguration,
        logger: Logger,
        running: @Sendable (ExitService) -> Void
    ) async throws -> ExitService {
        // Two exits with the same key would both answer every request.
        try KeyFile.lock(configuration.secretKey.publicKey)
        let service: ExitService
        do {
            service = try await ExitService.start(
                configuration,
                on: MultiThreadedEventLoopGroup.singleton.next(),
                logger: logger
            )
        } catch let error as DamagedStateFile {
            throw CommandError.configuration("\(error)")
        } catch let error as IOError where configuration.auditFile != nil {
            let reason = unsafe String(cString: strerror(error.errnoCode))
            throw CommandError.configuration("--audit-log: cannot open \(configuration.auditFile ?? ""): \(reason)")
        }
        running(service)
        let name = service.name
        if !name.hasUsableText {
            logger.warning(
                "the URLs of all relays are too long for a name; clients must use the nprofile",
                metadata: ["relays": "\(name.relaysLeftOut.map(\.text).joined(separator: " "))"]
            )
        } else {
            for relay in name.relaysLeftOut {
                logger.warning(
                    "the name has no room for a relay; only the nprofile contains it",
                    metadata: ["relay.url": "\(relay)"]
                )
            }
        }
        logger.info(
            "exit starting",
            metadata: [
                "name": "\(name.text)", "services": "\(configuration.services)",
                "relays": "\(configuration.relays.count)",
            ]
        )
        try await service.ready()
        return service
    }

    /// Prints the forms of an exit's name, for scripts. A name without a relay would not work, and is not printed.
    static func printName(_ name: NostrName) {
        Console.line("pubkey: \(name.publicKey.hex)")
        Console.line("npub: \(name.publicKey.npub)")
        if name.hasUsableText { Console.line("name: \(name.encoded)") }
        Console.line("nprofile: \(name.nprofile)")
    }

    /// Sets the files in the state folder that an exit keeps.
    static func addStateFiles(to configuration: inout ExitConfiguration, logger: Logger) {
        let key = configuration.secretKey.publicKey.hex.prefix(16)
        configuration.remedyText = EntryOptions.text(of:)
        if configuration.publishesRelays {
            configuration.relayListFile = StateFolder.file(
                "relay-lists-\(key)",
                purpose: "after a restart, the published relay list will not be updated",
                logger: logger
            )
        }
        configuration.replayFile = StateFolder.file(
            "connects-\(key)",
            purpose: "after a restart, relays can replay old CONNECT requests",
            logger: logger
        )
        configuration.ticketFile = StateFolder.file(
            "tickets-\(key)",
            purpose: "after a restart, clients use their identities instead of tickets",
            logger: logger
        )
        configuration.revokedFile = StateFolder.file(
            "revoked-\(key)",
            purpose: "after a restart, clients whose access was revoked get no answer instead of the reason",
            logger: logger
        )
    }

    /// Limits the streams to the limit of open files. Each stream has a connection, and a pair of sockets for TLS.
    static func limitStreams(_ configuration: inout ExitConfiguration, logger: Logger) {
        let wanted = configuration.maximumStreams + configuration.maximumPlainStreams
        let possible = ProcessSetup.connectionLimit(
            wanted,
            descriptorsEach: configuration.services.tlsPorts.isEmpty ? 1 : 3,
            logger: logger
        )
        guard possible < wanted else { return }
        configuration.maximumPlainStreams = min(configuration.maximumPlainStreams, max(1, possible / 4))
        configuration.maximumStreams = max(1, possible - configuration.maximumPlainStreams)
    }
}

extension NostrName {
    /// Whether the `.nostr` form contains a relay, or there are none.
    var hasUsableText: Bool { self.relays.isEmpty || self.relaysLeftOut.count < self.relays.count }

    /// The form that works for people: the `.nostr` name, or the nprofile if no relay fits in it.
    var text: String { self.hasUsableText ? self.encoded : self.nprofile }
}
