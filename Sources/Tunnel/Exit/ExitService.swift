//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import Logging
import NIOConcurrencyHelpers
package import NIOCore
import Nostr
import NostrClient
import NostrCrypto
package import TunnelProtocol

/// Makes services reachable through relays.
package final class ExitService: Sendable {
    private let exit: NIOLoopBound<Exit>
    private let loop: any EventLoop
    private let firstRelay: EventLoopFuture<Void>

    /// How long to wait before disconnecting, so that the last messages can be sent.
    private static let closingTime: TimeAmount = .milliseconds(300)

    private let currentName: NIOLockedValueBox<NostrName>

    /// The name by which clients reach the exit. It changes with the relays.
    package var name: NostrName { self.currentName.withLockedValue { $0 } }

    private init(exit: NIOLoopBound<Exit>, loop: any EventLoop, firstRelay: EventLoopFuture<Void>, name: NostrName) {
        self.exit = exit
        self.loop = loop
        self.firstRelay = firstRelay
        self.currentName = NIOLockedValueBox(name)
    }

    /// Starts an exit on `loop`. Returns before a relay is connected; ``ready()`` waits for that.
    ///
    /// - Throws: If a state file cannot be used, or TLS is configured for a service in the program's code.
    package static func start(
        _ configuration: ExitConfiguration,
        on loop: any EventLoop,
        logger: Logger
    ) async throws -> ExitService {
        let firstRelay = loop.makePromise(of: Void.self)
        let exit: NIOLoopBound<Exit>
        do {
            exit = try await loop.submit {
                let exit = try Exit(configuration: configuration, loop: loop, logger: logger, firstRelay: firstRelay)
                exit.start()
                return NIOLoopBound(exit, eventLoop: loop)
            }.get()
        } catch {
            firstRelay.fail(error)
            throw error
        }
        return ExitService(exit: exit, loop: loop, firstRelay: firstRelay.futureResult, name: configuration.name)
    }

    /// Waits until the first relay has accepted the exit's subscription.
    package func ready() async throws {
        try await self.firstRelay.get()
    }

    /// The exit's relays, clients and streams.
    package func status() async throws -> TunnelStatus {
        let exit = self.exit
        return try await self.loop.submit { exit.value.status }.get()
    }

    /// Applies the parts of a configuration that can change while streams run: services, access, rules, limits and relays.
    package func update(_ configuration: ExitConfiguration) async throws {
        let exit = self.exit
        try await self.loop.submit { exit.value.update(configuration) }.get()
        self.currentName.withLockedValue {
            $0 = NostrName(publicKey: $0.publicKey, relays: configuration.name.relays)
        }
    }

    /// Ends all streams, notifies the clients, and disconnects from the relays.
    ///
    /// - Parameter timeout: How long open streams may continue. New streams are refused meanwhile.
    package func stop(timeout: TimeAmount = .zero) async throws {
        let exit = self.exit
        try await self.loop.flatSubmit { exit.value.drain(timeout: timeout) }.get()
        let done = self.loop.makePromise(of: Void.self)
        self.loop.execute {
            exit.value.stop()
            exit.value.disconnect(after: Self.closingTime, promise: done)
        }
        try await done.futureResult.get()
    }
}
