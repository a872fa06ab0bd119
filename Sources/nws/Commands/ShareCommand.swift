//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import Logging
import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import Observability
import Tunnel
import TunnelProtocol

/// `nws share`
struct ShareCommand: RoleCommand {
    static let configuration = CommandConfiguration(
        commandName: "share",
        abstract: "Make services of this machine reachable for your own devices.",
        discussion: """
            A service is a port, or PORT=TARGET if clients use another port than the service. A target is a port of \
            this machine, HOST:PORT or unix:PATH:

              nws share 22 80=8080

            Only devices that were invited (nws invite) can use the services. The first start makes a key. nws exit \
            has more options, for operators.
            """
    )

    @Argument(help: ArgumentHelp("Services: PORT, PORT=PORT, PORT=HOST:PORT or PORT=unix:PATH.", valueName: "service"))
    var services: [String] = []

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp.reloadable(
            "Relay to use; repeat for several. Default: [NOSTR_RELAYS, separated by ;], else three public relays that work.",
            valueName: "url"
        )
    )
    var relay: [String] = []

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp.reloadable(
            "URL by which clients reach the relay, if it differs from --relay. With several relays: RELAY=URL; repeat for several.",
            valueName: "url"
        )
    )
    var advertise: [String] = []

    @Option(
        help: ArgumentHelp(
            "Alias that invited devices use for this machine, unless they choose another one.",
            valueName: "alias"
        )
    )
    var label = "home"

    @OptionGroup var relayOptions: RelayClientOptions
    @OptionGroup var admin: AdminOptions
    @OptionGroup var common: CommonOptions
    @OptionGroup var shutdown: ShutdownOptions

    var shutdownTimeout: Int { self.shutdown.shutdownTimeout }

    var watchedFiles: [String] { [ShareState.devices.path] }

    func makeConfiguration(_ settings: Settings, logger: Logger) throws -> ExitConfiguration {
        guard !self.services.isEmpty else {
            throw CommandError.configuration("no service: name at least one port, for example: nws share 22 80=8080")
        }
        guard Alias(self.label) != nil else {
            throw CommandError.configuration("--label: \(self.label): \(AliasCommand.rule)")
        }
        let services = try settings.services(self.services, backend: nil, source: "service")
        let relays = try settings.relays(self.relay)
        var configuration = ExitConfiguration(secretKey: try self.key(), relays: relays, services: services)
        if relays.isEmpty {
            configuration.relays = try ShareState.read()?.relays ?? []
        } else {
            configuration.advertisedRelays = try AdvertisedRelays.parse(self.advertise, relays: relays)
        }
        configuration.relayClient = try self.relayOptions.configuration()
        configuration.access = try Self.access(creates: !self.common.checkConfig)
        configuration.registry = FileDeviceRegistry(files: [ShareState.devices])
        Self.addStateFiles(to: &configuration, logger: logger)
        Self.limitStreams(&configuration, logger: logger)
        return configuration
    }

    private func key() throws -> SecretKey {
        let file = KeyFile.stateFile()
        if ProcessSetup.isReloading { return try file.read() }
        return self.common.checkConfig && !file.exists ? .generate() : try file.readOrCreate()
    }

    /// The devices that were invited.
    private static func access(creates: Bool) throws -> AuthorizedKeys {
        let file = ShareState.devices
        guard file.exists else {
            guard creates else { return AuthorizedKeys() }
            try file.edit {
                $0 = ["# Devices that may use nws share. The commands nws invite and nws devices change this file."]
            }
            return try file.read()
        }
        return try file.read()
    }

    func start(
        _ configuration: ExitConfiguration,
        logger: Logger,
        running: @Sendable (ExitService) -> Void
    ) async throws {
        try KeyFile.stateFile().lock()
        var state = try ShareState.read() ?? ShareState()
        if configuration.relays.isEmpty {
            throw CommandError.configuration("no relay: use --relay URL")
        }
        let isFirstStart = state.nprofile.isEmpty
        state.nprofile = configuration.name.nprofile
        state.label = self.label
        state.services = configuration.services.byPort.keys.sorted()
        try state.save()
        let silent = await ServiceCheck.silentServices(configuration.services)
        for (port, backend) in silent {
            logger.warning(
                "nothing answers at a service; start it, or correct its address",
                metadata: ["port": "\(port)", "service": "\(backend)"]
            )
        }
        let service = try await Self.startExit(configuration, logger: logger, running: running)
        Self.printName(service.name)
        self.explain(configuration, silent: Set(silent.map(\.port)), isFirstStart: isFirstStart)
    }

    private func explain(_ configuration: ExitConfiguration, silent: Set<UInt16>, isFirstStart: Bool) {
        let devices = configuration.access?.grants.values.map(\.comment).sorted() ?? []
        var lines = ["Shared with invited devices as \(self.label):"]
        for (port, backend) in configuration.services.byPort.sorted(by: { $0.key < $1.key }) {
            lines.append("  port \(port)  \(backend)\(silent.contains(port) ? "  (nothing answers there now)" : "")")
        }
        lines.append(devices.isEmpty ? "No device is enrolled." : "Devices: \(devices.joined(separator: ", "))")
        lines += ["", "To invite a device, run in another terminal:", "  \(Installation.command) invite"]
        if isFirstStart {
            lines += [
                "", "The key of this machine is in \(KeyFile.stateFile().path)",
                "Back it up: without it, all devices need a new invite. Anyone who has it can impersonate this machine.",
            ]
        }
        Console.line("")
        for line in lines { Console.line(Console.printable(line)) }
        Console.line("")
    }
}
