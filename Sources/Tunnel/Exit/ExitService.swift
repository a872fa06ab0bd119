//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import Logging
import NIOConcurrencyHelpers
public import NIOCore
import Nostr
import NostrClient
import NostrCrypto
public import TunnelProtocol

/// Makes a service reachable through relays.
public final class ExitService: Sendable {
    private let core: NIOLoopBound<ExitCore>
    private let loop: any EventLoop
    private let firstRelay: EventLoopFuture<Void>

    /// How long the last messages may take to leave when stopping.
    private static let farewell: TimeAmount = .milliseconds(300)

    private let currentName: NIOLockedValueBox<NostrName>

    /// The exit's name. It changes with the relays.
    public var name: NostrName { self.currentName.withLockedValue { $0 } }

    private init(core: NIOLoopBound<ExitCore>, loop: any EventLoop, firstRelay: EventLoopFuture<Void>, name: NostrName)
    {
        self.core = core
        self.loop = loop
        self.firstRelay = firstRelay
        self.currentName = NIOLockedValueBox(name)
    }

    /// Starts, all on `loop`. Returns before any relay is connected; ``ready()`` waits for that.
    public static func start(
        _ configuration: ExitConfiguration,
        on loop: any EventLoop,
        logger: Logger
    ) async throws -> ExitService {
        let firstRelay = loop.makePromise(of: Void.self)
        let core = try await loop.submit {
            let core = try ExitCore(configuration: configuration, loop: loop, logger: logger, firstRelay: firstRelay)
            core.start()
            return NIOLoopBound(core, eventLoop: loop)
        }.get()
        return ExitService(core: core, loop: loop, firstRelay: firstRelay.futureResult, name: configuration.name)
    }

    /// Waits until a relay accepted the exit's subscription.
    public func ready() async throws {
        try await self.firstRelay.get()
    }

    /// What the exit is doing.
    public func status() async throws -> TunnelStatus {
        let core = self.core
        return try await self.loop.submit { core.value.status }.get()
    }

    /// Takes what can change while streams run: services, access, rules, limits, relays.
    public func update(_ configuration: ExitConfiguration) async throws {
        let core = self.core
        try await self.loop.submit { core.value.update(configuration) }.get()
        self.currentName.withLockedValue { $0 = configuration.name }
    }

    /// Ends all streams, tells the clients, and closes the relays.
    ///
    /// - Parameter patience: How long streams may go on before they are ended. New ones are refused meanwhile.
    public func stop(patience: TimeAmount = .zero) async throws {
        let core = self.core
        try await self.loop.flatSubmit { core.value.drain(patience: patience) }.get()
        let done = self.loop.makePromise(of: Void.self)
        self.loop.execute {
            core.value.stop()
            core.value.disconnect(after: Self.farewell, promise: done)
        }
        try await done.futureResult.get()
    }
}
