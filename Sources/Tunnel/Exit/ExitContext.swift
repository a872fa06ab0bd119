//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import NostrClient
import NostrCrypto
import TunnelProtocol

/// The state that the parts of an exit share. It must be used on the exit's event loop.
final class ExitContext {
    /// Changes with ``Exit/update(_:)``.
    var configuration: ExitConfiguration
    let loop: any EventLoop
    let logger: Logger
    let metrics: TunnelMetrics
    let pool: RelayPool
    /// The sockets of direct paths; nil without them.
    let sockets: DatagramSockets?
    /// Nil without an audit log.
    let audit: AuditLog?
    private let limitedLogger: LimitedLogger

    init(
        configuration: ExitConfiguration,
        pool: RelayPool,
        loop: any EventLoop,
        metrics: TunnelMetrics,
        audit: AuditLog?,
        logger: Logger
    ) {
        self.audit = audit
        var configuration = configuration
        // A proxy for relays hides this node's address, which a direct path would show.
        if configuration.relayClient.proxy != nil { configuration.direct.choice = .off }
        self.sockets = DatagramSockets.make(configuration.direct, loop, metrics, logger)
        self.configuration = configuration
        self.pool = pool
        self.loop = loop
        self.metrics = metrics
        self.logger = logger
        self.limitedLogger = LimitedLogger(logger)
    }

    /// The configuration of sessions. They declare that this node takes datagrams if it has sockets.
    var session: SessionConfiguration {
        var session = self.configuration.session
        session.usesDatagrams = self.sockets != nil
        return session
    }

    /// The exit's long-term key.
    var key: PublicKey { self.configuration.secretKey.publicKey }

    /// Logs a message that clients can cause any number of times, at a limited rate.
    func logLimited(
        _ level: Logger.Level,
        _ message: Logger.Message,
        _ metadata: @autoclosure () -> Logger.Metadata,
        topic: LogRates.Topic = .problems
    ) {
        self.limitedLogger.log(level, message, metadata(), topic: topic)
    }
}
