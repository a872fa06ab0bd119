//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Tunnel
import TunnelProtocol
import UnixSignals

/// `nws connect`
struct ConnectCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "connect",
        abstract: "Connect standard input and output to a service.",
        discussion: """
            Use it as ProxyCommand of ssh:

              ssh -o ProxyCommand='nws connect %h:%p' user@NAME

            or, for all .nostr names, in ~/.ssh/config:

              Host *.nostr
                ProxyCommand nws connect %h:%p
            """
    )

    @Argument(
        help: ArgumentHelp("An alias, .nostr name, npub or nprofile, followed by a port.", valueName: "name:port")
    )
    var target: String

    @OptionGroup var entry: EntryOptions

    @Option(help: "Minimum level of log messages: trace, debug, info, notice, warning, error.")
    var logLevel: CommonOptions.LogLevel = .error

    @Option(help: ArgumentHelp("YAML file with options for this command. [NWS_CONFIG]", valueName: "file"))
    var config: String?

    func run() async throws {
        try await reportingErrors {
            let logger = Logger.console("nws.connect", self.logLevel.level)
            var configuration = try self.entry.configuration(Settings(), logger: logger)
            configuration.servesProxy = false
            // The user has named the targets.
            configuration.identityExits = nil
            // A key on the command line takes the place of the one that nws join has made.
            if self.entry.hasIdentityArgument { configuration.identities = [:] }
            let target = try TargetAddress(
                self.target,
                source: self.target,
                allowsHosts: configuration.hasExitForHosts
            )
            let service = try await EntryOptions.start(configuration, logger: logger)
            let pipes = try StandardPipes()
            // ssh terminates its ProxyCommand with a signal. The stream must be closed at the exit first.
            let signals = await UnixSignalsSequence(trapping: .sighup, .sigint, .sigterm)
            let isEnding = NIOLockedValueBox(false)
            let watcher = Task {
                for await signal in signals {
                    isEnding.withLockedValue { $0 = true }
                    try? await service.stop()
                    endProcess(128 + signal.rawValue)
                }
            }
            defer { watcher.cancel() }
            do {
                try await service.connect(target, input: pipes.input, output: pipes.output)
                let pipeError = await pipes.finish()
                try await service.stop(timeout: Self.closeTimeout)
                if let pipeError { throw pipeError }
            } catch let failure as StreamFailure {
                if isEnding.withLockedValue({ $0 }) { await watcher.value }
                // A failure to write the output also appears as a reset. Report the actual cause.
                let pipeError = await pipes.finish()
                try? await service.stop()
                if let pipeError { throw pipeError }
                // The parent process closed its end, as ssh and git do when they have finished. This is not an error.
                guard failure.end != .cancelled else { return }
                throw CommandError.failure("\(failure)")
            }
        }
    }

    /// Time for the last acknowledgements to be sent.
    private static let closeTimeout: TimeAmount = .seconds(2)
}
