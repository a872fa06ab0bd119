//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOConcurrencyHelpers
import NIOCore

/// A rate limit that all connections of a relay share.
final class SharedLimit: Sendable {
    private let bucket: NIOLockedValueBox<TokenBucket>

    init(perSecond: Int, burst: Int, now: NIODeadline) {
        self.bucket = NIOLockedValueBox(TokenBucket(perSecond: perSecond, burst: burst, now: now))
    }

    /// Takes tokens. Takes none and returns false if there are not enough.
    func take(_ count: Int, at now: NIODeadline) -> Bool {
        self.bucket.withLockedValue { $0.take(count, at: now) }
    }

    /// Takes tokens that were used already. Their number may exceed those that are left.
    func pay(_ count: Int, at now: NIODeadline) {
        self.bucket.withLockedValue { $0.pay(count, at: now) }
    }

    /// When the next token is available: now, if there is one.
    func nextToken(at now: NIODeadline) -> NIODeadline {
        self.bucket.withLockedValue {
            _ = $0.take(0, at: now)
            return $0.nextToken(at: now)
        }
    }
}
