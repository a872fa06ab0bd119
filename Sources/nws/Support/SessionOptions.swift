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

/// Options about sessions, the same for both roles.
struct SessionOptions: ParsableArguments {
    @Option(
        name: .customLong("protocol"),
        help: ArgumentHelp(
            "Protocol with peers: session, nip74, or auto: sessions with peers that support them, plain NIP-74 with others.",
            valueName: "protocol"
        )
    )
    var protocolChoice = ProtocolChoice.auto

    @Option(
        help: ArgumentHelp(
            "File with a secret key that authenticates session connections to the relays given with --relay, where those admit only keys they know. By default a throwaway key.",
            valueName: "file"
        )
    )
    var authKey: String?

    @Option(
        help: ArgumentHelp(
            "How long a session outlives the loss of all its relays, or of its peer.",
            valueName: "seconds"
        )
    )
    var sessionTimeout = 180

    @Option(
        help: ArgumentHelp("End a stream after this long without a byte either way; 0 for never.", valueName: "seconds")
    )
    var streamIdleTimeout = 0

    func configuration() throws -> SessionConfiguration {
        guard (1...86_400).contains(self.sessionTimeout) else {
            throw CommandError.configuration("--session-timeout: expected 1 to 86400 seconds")
        }
        guard (0...31_536_000).contains(self.streamIdleTimeout) else {
            throw CommandError.configuration("--stream-idle-timeout: expected 0 to 31536000 seconds")
        }
        var configuration = SessionConfiguration()
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
    /// The path of a file in the state folder, which is made if need be; nil, with a warning, if it can't be.
    static func file(_ name: String, purpose: String, logger: Logger) -> String? {
        let folder = KeyFile.stateFolder()
        do {
            try KeyFile.makeFolder(folder)
            return folder + "/" + name
        } catch {
            logger.warning("no state folder: \(purpose)", metadata: ["error": "\(error)"])
            return nil
        }
    }

    /// Where the entry remembers the exits that speak sessions.
    static let pins = "exits"
}
