//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NostrCrypto
import TunnelProtocol

/// Decides whether a plain NIP-74 CONNECT may be served. It is served at most once, and not if the exit serves only
/// sessions.
final class ReplayGuard {
    private let context: ExitContext
    private let journal: ReplayJournal

    /// - Throws: `EWOULDBLOCK` if another process uses the journal, or ``DamagedStateFile``.
    init(context: ExitContext) throws {
        self.context = context
        self.journal = try ReplayJournal(path: context.configuration.replayFile, now: Moment.now.seconds)
        guard let failure = self.journal.failure else { return }
        context.logger.error(
            "cannot write the replay journal; until that is possible, plain NIP-74 requests and early data are refused",
            metadata: ["file": "\(context.configuration.replayFile ?? "")", "error": "\(failure)"]
        )
    }

    /// Returns the reason why a CONNECT is refused. Nil if it may be served.
    func refusal(of connect: StreamRequest.Connect, from client: PublicKey) -> StreamEnd? {
        guard Admission.servesPlain(self.context.configuration) else {
            self.context.logLimited(
                .warning,
                "client speaks plain NIP-74, which this exit does not serve",
                ["peer": "\(client)"]
            )
            return .notAllowed
        }
        guard !self.admitOnce(connect.key, connect.createdAt, of: client) else { return nil }
        self.context.metrics.reported(.replayedConnect)
        if self.journal.isFull {
            self.context.logLimited(.error, "the replay table is full, so new plain NIP-74 requests are refused", [:])
        } else if let failure = self.journal.failure {
            self.context.logLimited(
                .error,
                "cannot write the replay journal, so plain NIP-74 requests are refused",
                ["error": "\(failure)"]
            )
        }
        return .replayed
    }

    /// Whether the journal could not record the last request, because it is full or cannot be written.
    var cannotRecord: Bool { self.journal.isFull || self.journal.failure != nil }

    /// Records a request in the journal. Returns false if it was recorded before or cannot be recorded.
    func admitOnce(_ key: String, _ createdAt: Int64, of client: PublicKey) -> Bool {
        self.journal.admit(client: client, key: key, createdAt: createdAt, now: Moment.now.seconds)
    }
}
