//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Determines the packet size of a path (Packetization Layer Path MTU Discovery, RFC 8899).
///
/// The maximum message length that a relay declares is not reliable: some relays accept messages of that length but
/// reject events of half of it. So one packet of the larger size is sent as a probe when there is enough data to fill
/// it. Further large packets are sent only after the probe was acknowledged. The loss of a probe is not a sign of
/// congestion.
struct PacketSizer: Hashable, Sendable {
    private enum State: Hashable {
        /// No probe is in flight. The value is the number of probes that were sent.
        case waiting(attempts: Int)
        /// The probe with this packet number is in flight.
        case probing(number: UInt64, attempts: Int)
        /// The larger size works.
        case found
        /// The larger size is not used.
        case failed
    }

    /// Maximum number of probes (RFC 8899, section 5.1.2: MAX_PROBES).
    private static let maximumAttempts = 3
    /// If more large packets than this are lost in a row, the path returns to the base size and probes again (RFC 8899,
    /// section 4.3: black hole detection).
    private static let blackHole = 8

    /// The packet size in bytes that the relay is expected to accept.
    let base: Int
    /// The largest packet size in bytes that both endpoints and the relay's declared limits allow.
    let largest: Int
    private var state: State
    private var lostInARow = 0

    init(base: Int, largest: Int) {
        self.base = base
        self.largest = max(base, largest)
        self.state = largest > base ? .waiting(attempts: 0) : .failed
    }

    /// Updates the sizes after the path was connected again, possibly to another relay with the same URL.
    ///
    /// If the sizes did not change, a failed search is not repeated: a relay that closes the connection because of a
    /// packet's size would do so again.
    mutating func reconnected(base: Int, largest: Int) {
        guard base == self.base, max(base, largest) == self.largest else {
            self = PacketSizer(base: base, largest: largest)
            return
        }
        self.lostInARow = 0
        if self.state == .found { self.state = .waiting(attempts: 0) }
    }

    /// Maximum size in bytes of a packet that is not a probe.
    var size: Int { self.state == .found ? self.largest : self.base }

    /// Maximum size of the next packet if `bytes` bytes are waiting to be sent.
    ///
    /// - Parameters:
    ///   - bytes: Number of bytes that wait.
    ///   - limit: The largest size that does not occupy the path for too long.
    func sizeOfNext(waiting bytes: Int, limit: Int) -> Int {
        guard self.size <= limit else { return Self.unpadded(limit) }
        if case .waiting = self.state, bytes >= self.largest, self.largest <= limit { return self.largest }
        return self.size
    }

    /// Records that a packet was sent.
    mutating func sent(_ number: UInt64, size: Int) {
        guard case .waiting(let attempts) = self.state, size > self.base else { return }
        self.state = .probing(number: number, attempts: attempts + 1)
    }

    /// Records that a packet was acknowledged.
    mutating func acknowledged(_ number: UInt64, size: Int) {
        if case .probing(number, _) = self.state { self.state = .found }
        if size > self.base { self.lostInARow = 0 }
    }

    /// The largest size up to `limit`, at least 256, to which NIP-44 adds no padding.
    static func unpadded(_ limit: Int) -> Int {
        let step = (1 << (Int.bitWidth - 1 - max(256, limit).leadingZeroBitCount)) / 4
        return max(256, limit) / step * step
    }

    /// Whether the packet is the probe in flight.
    func isProbe(_ number: UInt64) -> Bool {
        if case .probing(number, _) = self.state { true } else { false }
    }

    /// Records that a packet was declared lost.
    mutating func lost(_ number: UInt64, size: Int) {
        switch self.state {
        case .probing(number, let attempts):
            self.state = attempts < Self.maximumAttempts ? .waiting(attempts: attempts) : .failed
        case .found where size > self.base:
            self.lostInARow += 1
            guard self.lostInARow > Self.blackHole else { return }
            self.lostInARow = 0
            self.state = .waiting(attempts: 1)
        case .found, .waiting, .probing, .failed:
            break
        }
    }

    /// Records that a packet did not reach the peer for a reason that its size has nothing to do with.
    mutating func withdrawn(_ number: UInt64) {
        if case .probing(number, let attempts) = self.state { self.state = .waiting(attempts: attempts - 1) }
    }

    /// Records that the relay rejected a packet of `size` bytes. Returns true if the size is the likely reason; larger
    /// packets are then no longer sent.
    mutating func refused(size: Int) -> Bool {
        guard size > self.base else { return false }
        self.state = .failed
        return true
    }
}
