//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import Logging
import NIOCore
import NIOPosix
import Nostr
public import NostrCrypto
public import Tunnel
public import TunnelProtocol

/// Serves streams that reach the program under a name made of its key and relays.
public final class TunnelHost: Sendable {
    private let service: ExitService

    private init(service: ExitService) {
        self.service = service
    }

    /// The name, with npub and nprofile, by which clients reach the host.
    public var name: NostrName { self.service.name }

    /// Starts a host; returns as soon as one relay lets it listen, and waits for that until the task is cancelled.
    ///
    /// - Parameters:
    ///   - key: The host's identity. Keep it: the name is made of it.
    ///   - relays: URLs of relays to listen on. Several carry at once.
    ///   - services: Code for each port that clients may ask for; each stream is a task of its own.
    ///   - logger: Where it says what it does; nowhere by default.
    ///   - configure: Changes what is not as wished: services elsewhere, who may use them, limits, the file that remembers
    ///     plain requests over a restart.
    /// - Throws: An error for a text that is no URL of a relay, or the system's error for a file.
    public static func start(
        key: SecretKey,
        relays: [String],
        services: [UInt16: LocalService.Handler] = [:],
        logger: Logger = Logger(label: "nws.host") { _ in SwiftLogNoOpLogHandler() },
        configure: (inout ExitConfiguration) -> Void = { _ in }
    ) async throws -> TunnelHost {
        var configuration = ExitConfiguration(
            secretKey: key,
            relays: try relays.map { try RelayURL($0) },
            services: ExitServices(services.mapValues { .local(LocalService($0)) })
        )
        configure(&configuration)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let service = try await ExitService.start(configuration, on: loop, logger: logger)
        do {
            try await withTaskCancellationHandler {
                try await service.ready()
            } onCancel: {
                // What waits fails then.
                Task { try? await service.stop() }
            }
        } catch {
            try? await service.stop()
            throw Task.isCancelled ? CancellationError() : error
        }
        return TunnelHost(service: service)
    }

    /// What the host is doing: its relays, clients and streams.
    public func status() async throws -> TunnelStatus { try await self.service.status() }

    /// Ends the host, and tells its clients.
    ///
    /// - Parameter patience: How long streams may go on before they are ended.
    public func stop(patience: Duration = .zero) async throws {
        try await self.service.stop(patience: TimeAmount(patience))
    }
}
