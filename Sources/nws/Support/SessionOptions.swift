//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import ArgumentParser
import Logging
import NIOCore
import NostrCrypto
public import Tunnel
import TunnelProtocol

extension ProtocolChoice: ExpressibleByArgument {}

/// Session options of entries and exits.
struct SessionOptions: ParsableArguments {
    @Option(
        name: .customLong("protocol"),
        help: ArgumentHelp(
            "Protocol to use with peers: session, nip74 (plain NIP-74), or auto (sessions with peers that support them, plain NIP-74 with others).",
            valueName: "protocol"
        )
    )
    var protocolChoice = ProtocolChoice.auto

    @Option(
        help: ArgumentHelp(
            "File with the secret key for NIP-42 authentication of session connections to the relays given with --relay, if these admit only known keys. Default: a temporary key.",
            valueName: "file"
        )
    )
    var authKey: String?

    @Option(
        help: ArgumentHelp(
            "Time without packets from the peer after which a session ends, even if no relay is reachable meanwhile.",
            valueName: "seconds"
        )
    )
    var sessionTimeout = 180

    @Option(
        help: ArgumentHelp(
            "Time without data in either direction after which a stream is closed; 0 for no limit.",
            valueName: "seconds"
        )
    )
    var streamIdleTimeout = 0

    @Option(
        help: ArgumentHelp(
            "Time after which a client begins new keys of a session.",
            valueName: "seconds",
            visibility: .hidden
        )
    )
    var keyLifetime = 1_800

    func configuration() throws -> SessionConfiguration {
        guard (1...86_400).contains(self.sessionTimeout) else {
            throw CommandError.configuration("--session-timeout: must be between 1 and 86400 seconds")
        }
        guard (0...31_536_000).contains(self.streamIdleTimeout) else {
            throw CommandError.configuration("--stream-idle-timeout: must be between 0 and 31536000 seconds")
        }
        guard (6...1_800).contains(self.keyLifetime) else {
            throw CommandError.configuration("--key-lifetime: must be between 6 and 1800 seconds")
        }
        var configuration = SessionConfiguration()
        configuration.keyLifetime = .seconds(Int64(self.keyLifetime))
        configuration.peerTimeout = .seconds(Int64(self.sessionTimeout))
        if self.streamIdleTimeout > 0 {
            configuration.streamIdleTimeout = .seconds(Int64(self.streamIdleTimeout))
        }
        return configuration
    }

    func authenticationKey() throws -> SecretKey? {
        try self.authKey.map { try KeyFile(path: $0).read() }
    }
}

/// Files that a role keeps in the state folder.
enum StateFolder {
    /// Returns the path of a file in the state folder, and creates the folder if it does not exist.
    ///
    /// - Parameter purpose: What is lost without the file, for the warning.
    /// - Returns: The path. Nil, after logging a warning, if the folder cannot be created.
    static func file(_ name: String, purpose: String, logger: Logger) -> String? {
        let folder = KeyFile.stateFolder()
        do {
            try KeyFile.makeFolder(folder)
            return folder + "/" + name
        } catch {
            logger.warning("cannot create the state folder: \(purpose)", metadata: ["error": "\(error)"])
            return nil
        }
    }

    /// The file in which an entry saves its pinned exits.
    static let pins = "exits"
}
