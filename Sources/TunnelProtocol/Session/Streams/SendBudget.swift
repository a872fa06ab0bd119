//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The send buffers of a session's streams. Each stream may have ``minimum`` bytes. What a stream has beyond that comes from a total that
/// all streams share.
struct SendBudget: Sendable {
    /// Maximum bytes in the buffer of a stream.
    private let most: Int
    /// Bytes of all streams beyond ``minimum`` for each.
    private(set) var shared = 0

    /// Bytes that a stream may always have in its buffer, unless the configured maximum is less.
    static let minimum = 64 << 10
    /// Maximum bytes of all streams together beyond ``minimum`` for each.
    static let total = 16 << 20

    init(_ configuration: SessionConfiguration) { self.most = configuration.sendBuffer }

    private func beyond(_ bytes: Int) -> Int { max(0, bytes - Self.minimum) }

    /// Returns the credit that a stream gets.
    ///
    /// - Parameters:
    ///   - bytes: Bytes in the stream's buffer together with its unused credit. Receives the new value.
    ///   - sent: Number of bytes that were removed from the buffer since the last call.
    ///   - streams: Number of streams that compete for the buffer: those that are queued to send, or all open ones for the first credit.
    mutating func renew(_ bytes: inout Int, sent: Int, among streams: Int) -> Int {
        self.shared -= self.beyond(bytes)
        bytes -= sent
        let part = max(Self.minimum, Self.total / max(1, streams))
        let left = Self.minimum + max(0, Self.total - self.shared)
        let credit = max(0, min(self.most, part, left) - bytes)
        bytes += credit
        self.shared += self.beyond(bytes)
        return credit
    }

    /// Takes back what a stream has, because it ends.
    mutating func release(_ bytes: inout Int) {
        self.shared -= self.beyond(bytes)
        bytes = 0
    }
}
