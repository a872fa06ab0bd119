//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Nostr
public import NostrCrypto
public import Tunnel
public import TunnelProtocol

/// A host that serves the streams of clients. Its name consists of its public key and its relays.
public final class TunnelHost: Sendable {
    private let service: ExitService
    private let configuration: NIOLockedValueBox<ExitConfiguration>

    private init(service: ExitService, configuration: ExitConfiguration) {
        self.service = service
        self.configuration = NIOLockedValueBox(configuration)
    }

    /// The name by which clients reach the host. `encoded` omits relays that do not fit into a DNS name; `nprofile`
    /// contains them.
    public var name: NostrName { self.service.name }

    /// Starts a host. Returns when at least one relay has accepted its subscription. There is no timeout: cancel the
    /// task to stop waiting.
    ///
    /// - Parameters:
    ///   - key: The host's secret key. Store it to keep the name, which contains the public key.
    ///   - relays: URLs of the relays to listen on. Several can be used at the same time.
    ///   - services: The handler for each port. Each stream runs in its own task. For services on the network, set
    ///     `services` in `configure`, for example to `ExitServices([80: .tcp(host: "127.0.0.1", port: 8080)])`; it takes the
    ///     place of the handlers, which can be added as `.local(LocalService(handler))`.
    ///   - logger: The logger. By default, nothing is logged.
    ///   - configure: Changes the default configuration, for example services on the network, access, limits or the
    ///     replay journal. Without `access`, everybody who knows the name may connect.
    /// - Throws: An error if a relay URL is invalid or a state file cannot be used, or `CancellationError`.
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
                // Stopping the service makes `ready()` throw.
                Task { try? await service.stop() }
            }
        } catch {
            try? await service.stop()
            throw Task.isCancelled ? CancellationError() : error
        }
        return TunnelHost(service: service, configuration: configuration)
    }

    /// Changes the configuration while the host runs. Clients that lose access are disconnected.
    ///
    /// - Parameter change: Changes the configuration. These properties take effect: `services`, `access`, `relays`,
    ///   `advertisedRelays`, `maximumSessions`, `handshakesPerSecond`, `connectsPerSecondPerClient`, `session.maximumStreams`
    ///   (for new sessions), and `policy` if the host was started with one. All others are ignored.
    /// - Throws: An error if the host was stopped.
    public func update(_ change: (inout ExitConfiguration) -> Void) async throws {
        let configuration = self.configuration.withLockedValue { configuration in
            change(&configuration)
            return configuration
        }
        try await self.service.update(configuration)
    }

    /// The host's relays, clients and streams.
    public func status() async throws -> TunnelStatus { try await self.service.status() }

    /// Stops the host, ends its streams and notifies its clients.
    ///
    /// - Parameter timeout: How long open streams may continue. New streams are refused meanwhile.
    public func stop(timeout: Duration = .zero) async throws {
        try await self.service.stop(timeout: TimeAmount(timeout))
    }
}
