//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NostrCrypto
import TunnelProtocol

/// Decides whether a CONNECT of plain NIP-74 may be served: never twice, and not where only sessions are served.
final class ReplayGuard {
    private let context: ExitContext
    private let journal: ReplayJournal

    /// - Throws: If the journal cannot be used.
    init(context: ExitContext) throws {
        self.context = context
        self.journal = try ReplayJournal(path: context.configuration.replayFile, now: Moment.now.seconds)
    }

    /// Why a CONNECT is refused; nil if it is served.
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
            self.context.logLimited(.error, "too many plain NIP-74 requests to remember; new ones are refused", [:])
        } else if self.journal.hasFailed {
            self.context.logLimited(
                .error,
                "cannot write to the replay journal, so plain NIP-74 requests are refused; is the disk full?",
                [:]
            )
        }
        return .replayed
    }

    /// Enters a request in the journal. False if it is there, or cannot be remembered.
    func admitOnce(_ key: String, _ createdAt: Int64, of client: PublicKey) -> Bool {
        self.journal.admit(client: client, key: key, createdAt: createdAt, now: Moment.now.seconds)
    }
}
