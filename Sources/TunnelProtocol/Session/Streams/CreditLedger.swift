//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Flow control of a whole session (RFC 9000, section 4.1): how much stream data each side may send.
struct CreditLedger: Sendable {
    /// New stream bytes that were sent.
    private(set) var sentBytes: UInt64 = 0
    private var sendLimit: UInt64
    /// Stream bytes that the peer sent, each counted once.
    private(set) var receivedBytes: UInt64 = 0
    /// Received bytes that were passed on or dropped.
    private(set) var consumedBytes: UInt64 = 0
    /// The limit that was granted to the peer.
    private(set) var receiveLimit: UInt64
    /// The receive window in bytes.
    private var window: UInt64
    /// Bytes by which the windows of all streams together may grow, and by which they have grown.
    private let windowBudget: Int
    private(set) var windowGrowth = 0

    /// Maximum step in bytes in which the peer gets new credit.
    private static let step: UInt64 = 4 << 20

    /// - Parameters:
    ///   - sendLimit: The peer's initial limit in bytes.
    ///   - configuration: The receive window, and how much the windows of streams may grow.
    init(sendLimit: UInt64, _ configuration: SessionConfiguration) {
        self.sendLimit = sendLimit
        self.window = UInt64(configuration.unusedSessionWindow ?? configuration.sessionWindow)
        self.receiveLimit = self.window
        self.windowBudget = configuration.windowBudget
    }

    // MARK: Sending

    /// Number of new bytes that the peer's limit allows to send.
    var allowance: UInt64 { self.sendLimit - min(self.sendLimit, self.sentBytes) }

    mutating func sent(_ bytes: Int) { self.sentBytes += UInt64(bytes) }

    /// Handles MAX_DATA. Returns whether the limit increased.
    mutating func raiseSendLimit(to limit: UInt64) -> Bool {
        guard limit > self.sendLimit else { return false }
        self.sendLimit = limit
        return true
    }

    // MARK: Receiving

    /// Records by how many bytes the highest offsets of streams increased.
    mutating func received(_ bytes: UInt64) throws(SessionViolation) {
        self.receivedBytes += bytes
        guard self.receivedBytes <= self.receiveLimit else { throw SessionViolation() }
    }

    /// Records that received bytes were passed on or dropped.
    mutating func consumed(_ bytes: UInt64) { self.consumedBytes += bytes }

    /// Records bytes of a stream that was reset before it was opened. They were neither buffered nor delivered.
    mutating func skipped(_ bytes: UInt64) {
        self.receivedBytes += bytes
        self.consumedBytes += bytes
    }

    /// Grants the peer new credit. Returns the new limit, or nil if the peer has enough. The steps are small compared
    /// to the window, because streams that are not read may hold much of it.
    mutating func renew() -> UInt64? {
        let step = min(self.window / 2, Self.step)
        guard self.consumedBytes + self.window >= self.receiveLimit + step else { return nil }
        self.receiveLimit = self.consumedBytes + self.window
        return self.receiveLimit
    }

    /// Uses the full window from now on.
    mutating func useFullWindow(of configuration: SessionConfiguration) {
        self.window = max(self.window, UInt64(configuration.sessionWindow))
    }

    // MARK: Windows of streams

    /// Reserves `bytes` for a stream whose window shall grow. Returns false if the streams together have grown enough.
    mutating func reserveGrowth(_ bytes: Int) -> Bool {
        guard self.windowGrowth + bytes <= self.windowBudget else { return false }
        self.windowGrowth += bytes
        return true
    }

    /// Reserves the growth of a stream that is opened. Returns false if the windows have grown by a quarter of what is
    /// allowed, because the rest is for streams that use theirs.
    mutating func reserveFirstGrowth(_ bytes: Int) -> Bool {
        guard bytes > 0, self.windowGrowth + bytes <= self.windowBudget / 4 else { return false }
        return self.reserveGrowth(bytes)
    }

    /// Returns the reservation of a stream that ended.
    mutating func returnGrowth(_ bytes: Int) { self.windowGrowth -= bytes }
}
