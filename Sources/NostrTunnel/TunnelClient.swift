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

/// Opens streams to services that are known by a `.nostr` name, an npub or an nprofile.
///
/// One client is enough for a program: streams to the same exit share a session, sessions share connections to relays.
public final class TunnelClient: Sendable {
    private let service: EntryService

    private init(service: EntryService) {
        self.service = service
    }

    /// Starts a client.
    ///
    /// - Parameters:
    ///   - relays: URLs of relays for names that carry none, such as an npub.
    ///   - logger: Where it says what it does; nowhere by default.
    ///   - configure: Changes what is not as wished: an identity, what is spoken, limits, the file of pins, or
    ///     `allowsLocalRelays`, since relays on loopback and private networks that names carry are not dialled.
    /// - Throws: An error for a text that is no URL of a relay, or what is wrong with the file of pins.
    public static func start(
        relays: [String] = [],
        logger: Logger = Logger(label: "nws.client") { _ in SwiftLogNoOpLogHandler() },
        configure: (inout EntryConfiguration) -> Void = { _ in }
    ) async throws -> TunnelClient {
        var configuration = EntryConfiguration()
        configuration.servesProxy = false
        // The program may be a server, and the names its users'.
        configuration.allowsLocalRelays = false
        configuration.relays = try relays.map { try RelayURL($0) }
        configure(&configuration)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        return TunnelClient(service: try await EntryService.start(configuration, on: loop, logger: logger))
    }

    /// Opens a stream; returns as soon as the exit connected its service.
    ///
    /// - Parameter port: Which of the exit's services.
    /// - Throws: ``StreamFailure``, which names the place where it failed.
    public func connect(to name: String, port: UInt16) async throws -> TunnelStream {
        try await self.service.open(TargetAddress(host: .domain(name), port: port))
    }

    /// What the client is doing: its relays, sessions and streams.
    public func status() async throws -> TunnelStatus { try await self.service.status() }

    /// Ends the client.
    ///
    /// - Parameter patience: How long streams may go on before they are ended.
    public func stop(patience: Duration = .zero) async throws {
        try await self.service.stop(patience: TimeAmount(patience))
    }
}
