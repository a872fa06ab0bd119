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
import ServiceLifecycle
import Tunnel
import TunnelProtocol

/// `nws share`
struct ShareCommand: RoleCommand {
    static let configuration = CommandConfiguration(
        commandName: "share",
        abstract: "Make services of this machine reachable for your own devices.",
        discussion: """
            Each service is PORT, or PORT=TARGET if devices use another port than the service. A target is a port of \
            this machine, HOST:PORT or unix:PATH:

              nws share 22 80=8080

            Only devices that were invited (nws invite) can use the services. The first start creates a key for this \
            machine and prints its file. For more options, see nws exit.
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
            "URL by which devices reach the relay, if it differs from --relay. With several relays: RELAY=URL; repeat for several.",
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

    @Flag(
        help: ArgumentHelp(
            "Start this command with these arguments now and at boot, by systemd (launchd on macOS): as a system service for root, otherwise as a service of the current user."
        )
    )
    var install = false

    @Flag(help: "Stop the command that --install started, and do not start it at boot. The key and the devices stay.")
    var uninstall = false

    @OptionGroup var direct: DirectOptions
    @OptionGroup var relayOptions: RelayClientOptions
    @OptionGroup var admin: AdminOptions
    @OptionGroup var common: CommonOptions
    @OptionGroup var shutdown: ShutdownOptions

    var shutdownTimeout: Int { self.shutdown.shutdownTimeout }

    var watchedFiles: [String] { [ShareState.devices.path] }

    func run() async throws {
        guard self.install || self.uninstall else { return try await self.runRole() }
        try await reportingErrors {
            guard !(self.install && self.uninstall) else {
                throw CommandError.configuration("--install and --uninstall cannot be given together")
            }
            guard !self.common.checkConfig else {
                throw CommandError.configuration("--check-config and --install cannot be given together")
            }
            let relays = self.relay.isEmpty ? try Settings().relays([]).map(\.text) : []
            let installer = try ServiceInstaller(
                arguments: ServiceInstaller.arguments(LayeredArguments.current().ofCommand, relays: relays)
            )
            if self.uninstall { return try installer.uninstall() }
            // Wrong arguments are reported now, and not only in the log of the service.
            var checked = self
            checked.common.checkConfig = true
            _ = try checked.makeConfiguration(Settings(), logger: self.common.logger("nws.share"))
            try installer.install()
        }
    }

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
        configuration.direct = try self.direct.configuration(self.relayOptions.list())
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
                $0 = ["# Devices that can use the services of nws share. Changed by nws invite and nws devices."]
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
        var configuration = configuration
        var state = try ShareState.read() ?? ShareState()
        if configuration.relays.isEmpty { configuration.relays = try await self.chooseRelays(logger) }
        guard let named = try? NostrName(configuration.name.nprofile), !named.relays.isEmpty else {
            throw CommandError.configuration(
                "--relay: no name can contain a URL of more than 255 bytes; use a shorter one, or --advertise URL"
            )
        }
        state.chosenRelays = self.usesList(configuration) ? configuration.relays.map(\.text) : []
        state.nprofile = configuration.name.nprofile
        state.label = self.label
        state.services = configuration.services.byPort.keys.sorted()
        try state.save()
        let silent = await ServiceCheck.silentServices(configuration.services)
        for (port, backend) in silent {
            logger.warning(
                "cannot connect to the service; start it, or correct its address",
                metadata: ["port": "\(port)", "service": "\(backend)"]
            )
        }
        let service = try await Self.startExit(configuration, logger: logger, running: running)
        Self.printName(service.name)
        self.explain(configuration, silent: Set(silent.map(\.port)), showsKey: state.keyWasShown != true)
        // Not before, because without a relay the lines above are never printed.
        state.keyWasShown = true
        try state.save()
    }

    // MARK: Relays

    /// Whether the relays are from the list of public relays, and not from the user.
    private func usesList(_ configuration: ExitConfiguration) -> Bool {
        (try? Settings().relays(self.relay).isEmpty) ?? false
    }

    /// Tries public relays, and chooses those that work.
    private func chooseRelays(_ logger: Logger) async throws -> [RelayURL] {
        let list = try self.relayOptions.list()
        logger.info("no relay is configured; trying public relays", metadata: ["count": "\(list.entries.count)"])
        let trial = RelayTrial(configuration: try self.relayOptions.configuration())
        // In random order, so that not everyone uses the same ones.
        let results = try await cancelWhenGracefulShutdown {
            try await trial.run(list.entries.shuffled(), triesAll: false)
        }
        try Task.checkCancellation()
        guard !Task.isShuttingDownGracefully else { throw CancellationError() }
        let chosen = RelayTrial.chosen(results)
        guard !chosen.isEmpty else {
            throw CommandError.failure(
                "none of \(results.count) public relays works from here: check this machine's network, run 'nws doctor --suggest', or use a relay of your own with --relay URL"
            )
        }
        logger.notice("public relays chosen", metadata: ["relays": "\(chosen.map(\.text).joined(separator: " "))"])
        return chosen
    }

    func companions(
        _ role: StartedRole<ExitService>,
        _ configuration: ExitConfiguration,
        logger: Logger
    ) throws -> [any Service] {
        guard self.usesList(configuration) else { return [] }
        let keeper = RelayKeeper<Self>(
            role: role,
            list: try self.relayOptions.list(),
            trial: RelayTrial(configuration: try self.relayOptions.configuration()),
            logger: logger
        ) { running, relays in
            var state = try ShareState.read() ?? ShareState()
            state.chosenRelays = relays.map(\.text)
            try state.save()
            let changed = try ProcessSetup.$isReloading.withValue(true) {
                try self.makeConfiguration(Settings(), logger: logger)
            }
            try await running.update(changed)
            state.nprofile = running.name.nprofile
            try state.save()
        }
        return [keeper]
    }

    private func explain(_ configuration: ExitConfiguration, silent: Set<UInt16>, showsKey: Bool) {
        let devices = configuration.access?.grants.values.map(\.comment).sorted() ?? []
        var lines = ["Shared with invited devices as \(self.label):"]
        for (port, backend) in configuration.services.byPort.sorted(by: { $0.key < $1.key }) {
            lines.append("  port \(port)  \(backend)\(silent.contains(port) ? "  (not reachable now)" : "")")
        }
        lines.append(devices.isEmpty ? "No device is enrolled." : "Devices: \(devices.joined(separator: ", "))")
        lines += ["", "To invite a device, run in another terminal:", "  \(Installation.typed) invite"]
        if showsKey {
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
