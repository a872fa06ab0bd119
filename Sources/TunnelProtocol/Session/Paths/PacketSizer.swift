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
///
/// A relay may also reject or drop packets of the base size, or close the connection when it receives one, although it
/// declared no lower limit. The base size is then halved until a packet arrives (RFC 8899, section 5.2: BASE_PLPMTU that is
/// not supported).
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
    /// The least base size in bytes. If the relay rejects such packets too, their size is not the reason.
    private static let leastBase = 2_048
    /// The base size is reduced if this many times a small packet was acknowledged after a larger one had been lost, and
    /// none of that size was acknowledged meanwhile.
    private static let maximumSilentLosses = 3
    /// After this many acknowledged packets of the reduced base size a larger one is tried, because the reason may have been
    /// another one.
    private static let raiseInterval = 1_000

    /// The packet size in bytes that the relay's declared limits allow.
    let declaredBase: Int
    /// The packet size in bytes that the relay is expected to accept.
    private(set) var base: Int
    /// The largest packet size in bytes that both endpoints and the relay's declared limits allow.
    let largest: Int
    private var state: State
    private var lostInARow = 0
    /// Whether the relay rejected small packets as well, so that rejections say nothing about the size.
    private var isSizeIrrelevant = false
    /// The size in bytes of the largest packet that was acknowledged on this connection.
    private(set) var confirmed = 0
    /// The size in bytes of the smallest packet that was lost and larger than ``confirmed``. Nil if packets of that size
    /// arrive.
    private var suspect: Int?
    /// Whether a packet of at least this size was lost since the last acknowledgement.
    private var hasLostSuspect = false
    private var silentLosses = 0
    /// Number of packets of the reduced base size that were acknowledged.
    private var acknowledgedAtBase = 0

    init(base: Int, largest: Int) {
        self.declaredBase = base
        self.base = base
        self.largest = max(base, largest)
        self.state = largest > base ? .waiting(attempts: 0) : .failed
    }

    /// Updates the sizes after the path was connected again, possibly to another relay with the same URL.
    ///
    /// If the sizes did not change, a failed search is not repeated: a relay that closes the connection because of a
    /// packet's size would do so again.
    mutating func reconnected(base: Int, largest: Int) {
        // ``suspect`` stays: a relay that closes the connection because of a packet's size does so again.
        guard base == self.declaredBase, max(base, largest) == self.largest else {
            self = PacketSizer(base: base, largest: largest)
            return
        }
        self.lostInARow = 0
        self.isSizeIrrelevant = false
        self.confirmed = 0
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
        self.checkBase(acknowledged: size)
    }

    private mutating func checkBase(acknowledged size: Int) {
        self.confirmed = max(self.confirmed, size)
        if let suspect, size >= suspect {
            self.suspect = nil
            self.silentLosses = 0
        } else if let suspect, self.hasLostSuspect {
            self.silentLosses += 1
            if self.silentLosses >= Self.maximumSilentLosses { self.reduceBase(below: suspect) }
        }
        self.hasLostSuspect = false
        guard self.base < self.declaredBase, size > self.base * 3 / 4 else { return }
        self.acknowledgedAtBase += 1
        guard self.acknowledgedAtBase >= Self.raiseInterval else { return }
        self.setBase(min(self.declaredBase, 2 * self.base))
    }

    private mutating func setBase(_ size: Int) {
        self.base = size
        self.acknowledgedAtBase = 0
        self.silentLosses = 0
        self.suspect = nil
        if size < self.declaredBase {
            self.state = .failed
        } else if self.state == .failed, self.largest > size {
            self.state = .waiting(attempts: 0)
        }
    }

    /// Reduces the base size after a packet of `size` bytes did not arrive. Returns false if it is too small for that.
    @discardableResult
    private mutating func reduceBase(below size: Int) -> Bool {
        let reduced = max(Self.leastBase, Self.unpadded(size / 2))
        guard reduced < size else { return false }
        self.setBase(min(self.base, reduced))
        return true
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
        if size > self.confirmed, size > Self.leastBase, size <= self.base {
            self.suspect = min(self.suspect ?? size, size)
            self.hasLostSuspect = true
        }
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

    /// Records that the relay rejected a packet of `size` bytes. Returns true if the size is the likely reason; packets of
    /// this size are then no longer sent.
    mutating func refused(size: Int) -> Bool {
        if size > self.base {
            self.state = .failed
            return true
        }
        // What arrived before was not too long.
        guard !self.isSizeIrrelevant, size > self.confirmed else { return false }
        if self.reduceBase(below: size) { return true }
        self.isSizeIrrelevant = true
        self.setBase(self.declaredBase)
        return false
    }
}
