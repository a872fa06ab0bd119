//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import Logging
import NIOCore
import NIOPosix
import Nostr
public import Tunnel
import TunnelProtocol

/// A client that opens streams to services by `.nostr` name, npub or nprofile.
///
/// A program needs only one client. Streams to the same exit share a session, and sessions share relay connections.
public final class TunnelClient: Sendable {
    private let service: EntryService

    private init(service: EntryService) {
        self.service = service
    }

    /// Starts a client.
    ///
    /// - Parameters:
    ///   - relays: URLs of relays for names that contain none, such as an npub.
    ///   - logger: The logger. By default, nothing is logged.
    ///   - configure: Changes the default configuration, for example the identity, the limits or the file of pinned exits.
    ///     Relays on loopback and private networks that a name contains are used only if this closure sets
    ///     `allowsLocalRelays`. Exits that speak only plain NIP-74, such as those of asmogo/nws, are used only if it sets
    ///     `protocolChoice` to `.auto`; ``connect(to:port:)`` then cannot tell whether such an exit is online.
    /// - Throws: An error if a relay URL is invalid or the file of pinned exits cannot be read.
    public static func start(
        relays: [String] = [],
        logger: Logger = Logger(label: "nws.client") { _ in SwiftLogNoOpLogHandler() },
        configure: (inout EntryConfiguration) -> Void = { _ in }
    ) async throws -> TunnelClient {
        var configuration = EntryConfiguration()
        configuration.servesProxy = false
        // Plain NIP-74 has no answer to a request for a stream, so an exit that is offline would look like one that is slow.
        configuration.protocolChoice = .session
        // The program may be a server that accepts names from its users. Relays in these names must not give access to
        // the server's private network.
        configuration.allowsLocalRelays = false
        configuration.relays = try relays.map { try RelayURL($0) }
        configure(&configuration)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        return TunnelClient(service: try await EntryService.start(configuration, on: loop, logger: logger))
    }

    /// Opens a stream. Returns when the exit has connected to the service.
    ///
    /// If the exit connected to this service within the last minute in the same session, this returns at once; if the stream
    /// then cannot be opened, reading it throws. Set `session.opensRecentAtOnce` to false to wait for the exit each time.
    ///
    /// Throws after about 2 seconds if no relay of the name is reachable, after 3 seconds if the relays report that the exit is
    /// not connected, and after 10 seconds if the exit does not answer. Cancel the task to stop earlier.
    ///
    /// - Parameters:
    ///   - name: The exit's `.nostr` name, npub or nprofile. Other host names are reached through the exits in the `exits`
    ///     property of the configuration.
    ///   - port: The port of the service.
    /// - Throws: ``StreamFailure`` if the stream cannot be opened, or `CancellationError`. Its `cause` is `.exitSilent` if the
    ///   relays report that the exit is not connected to them, `.sessionRequired` if it is offline, does not know this client or
    ///   has no sessions, and `.notAllowed` if it does not offer the service to this client.
    public func connect(to name: String, port: UInt16) async throws -> TunnelStream {
        try await self.service.open(TargetAddress(host: .domain(name), port: port))
    }

    /// The client's relays, sessions and streams.
    public func status() async throws -> TunnelStatus { try await self.service.status() }

    /// Stops the client and ends its streams.
    ///
    /// - Parameter timeout: How long open streams may continue.
    public func stop(timeout: Duration = .zero) async throws {
        try await self.service.stop(timeout: TimeAmount(timeout))
    }
}
