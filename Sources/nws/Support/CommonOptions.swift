//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Logging

/// Options of all roles.
struct CommonOptions: ParsableArguments {
    @Option(help: "Minimum level of log messages: trace, debug, info, notice, warning, error.")
    var logLevel: LogLevel = .info

    @Option(help: "Format of log messages: text or json.")
    var logFormat: ConsoleLogHandler.Format = .text

    @Option(
        help: ArgumentHelp(
            "YAML file with options for this command, one 'option: value' per line. [NWS_CONFIG]",
            valueName: "file"
        )
    )
    var config: String?

    @Flag(help: "Validate the configuration and exit.")
    var checkConfig = false

    /// The levels of swift-log.
    enum LogLevel: String, CaseIterable, ExpressibleByArgument {
        case trace, debug, info, notice, warning, error

        var level: Logger.Level { Logger.Level(rawValue: self.rawValue) ?? .info }
    }

    /// The logger of a role.
    func logger(_ label: String) -> Logger {
        .console(label, self.logLevel.level, format: self.logFormat)
    }
}

/// Options of the roles that carry streams.
struct ShutdownOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Time that open streams have to finish after SIGTERM or SIGINT. A second signal ends them at once.",
            valueName: "seconds"
        )
    )
    var shutdownTimeout = 5
}
