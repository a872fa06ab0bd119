//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import TunnelProtocol

/// Provides the sessions that ``SessionLimits`` checks.
protocol SessionLimitsDelegate: AnyObject {
    /// The sessions that have begun.
    var established: [IncomingSession] { get }
}

/// Ends sessions of an exit that use too much memory, that are not used, or in whose place another one may begin.
final class SessionLimits {
    private static let checkInterval: TimeAmount = .seconds(1)
    /// How long a session with an invite may last. A device enrols in it at once.
    private static let inviteTimeout: TimeAmount = .seconds(60)
    /// Without an access list: how long a session may exist without a stream that the rules allow, and the part of all
    /// sessions that may be without one.
    private static let unused = (grace: TimeAmount.seconds(20), part: 4)
    /// Without an access list: the credit in bytes of a session without a stream that the rules allow.
    static let unusedCredit = 64 << 10
    /// Unused sessions are also checked whenever the number of sessions is a multiple of this, so that a flood cannot take
    /// all places within ``checkInterval``.
    private static let unusedCheckStep = 16

    private let context: ExitContext
    private var check: Scheduled<Void>?
    weak var delegate: (any SessionLimitsDelegate)?

    init(context: ExitContext) { self.context = context }

    private var sessions: [IncomingSession] { self.delegate?.established ?? [] }

    /// Begins to check the sessions regularly.
    func start() {
        let bound = NIOLoopBound(self, eventLoop: self.context.loop)
        self.check = self.context.loop.scheduleTask(in: Self.checkInterval) {
            bound.value.limitMemory()
            bound.value.endUnused()
            bound.value.start()
        }
    }

    func stop() { self.check?.cancel() }

    /// Makes room for a session, if another one may end.
    func makeRoom(for share: SessionEviction.Share) {
        let sessions = self.sessions
        let replaced = SessionEviction.sessionToReplace(
            among: sessions.map(\.evictionCandidate),
            for: share,
            idleAge: self.context.configuration.idleSessionAge,
            at: .now()
        )
        if let replaced { sessions[replaced.index].close(replaced.reason) }
    }

    /// Checks the unused sessions when many sessions begin.
    ///
    /// - Parameter count: The number of sessions.
    func sessionBegan(count: Int) {
        guard count > self.context.configuration.maximumSessions / Self.unused.part, count % Self.unusedCheckStep == 0
        else { return }
        self.endUnused()
    }

    /// Without an access list, ends sessions of clients that open no stream; with one, those of invites that take too long.
    private func endUnused() {
        let now = NIODeadline.now()
        for session in self.sessions where session.invite != nil && session.startedAt + Self.inviteTimeout <= now {
            session.close(.idle)
        }
        guard self.context.configuration.access == nil else { return }
        let sessions = self.sessions
        let ended = SessionEviction.unusedSessionsToEnd(
            among: sessions.map(\.evictionCandidate),
            limit: self.context.configuration.maximumSessions / Self.unused.part,
            grace: Self.unused.grace,
            at: now
        )
        for index in ended { sessions[index].close(.idle) }
    }

    /// Ends the sessions that use the most memory for received data until the total is within the limit.
    private func limitMemory() {
        let sessions = self.sessions
        let candidates = sessions.map(\.evictionCandidate)
        let limit = self.context.configuration.maximumHeldBytes
        for index in SessionEviction.sessionsOverLimit(among: candidates, limit: limit) {
            var metadata = sessions[index].clientMetadata
            metadata["bytes"] = "\(candidates[index].heldBytes)"
            self.context.logger.warning("session ended: receive buffer limit exceeded", metadata: metadata)
            sessions[index].close(.readerTooSlow)
        }
    }
}
