//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Finds out how large a path's packets may be (RFC 8899, packetization layer path MTU discovery).
///
/// A relay's word on the longest message is no promise: some take messages of that length and refuse events of half of
/// it. So a packet of the larger size goes out once there are bytes to fill it, and only when it is acknowledged do others
/// follow. One that is lost says nothing of congestion.
struct PacketSizer: Hashable, Sendable {
    private enum State: Hashable {
        /// So many were lost.
        case waiting(attempts: Int)
        /// The packet with this number is under way.
        case probing(number: UInt64, attempts: Int)
        case found
        case failed
    }

    /// Lost probes after which none follows (RFC 8899: MAX_PROBES).
    private static let maximumAttempts = 3
    /// Large packets lost one after the other, none arriving, after which small ones are sent again (RFC 8899, section 4.3:
    /// black hole detection).
    private static let blackHole = 8

    /// What every relay in use takes.
    let base: Int
    /// What both ends, and the relay by its own word, would take.
    let largest: Int
    private var state: State
    private var lostInARow = 0

    init(base: Int, largest: Int) {
        self.base = base
        self.largest = max(base, largest)
        self.state = largest > base ? .waiting(attempts: 0) : .failed
    }

    /// The relay is connected again, with these sizes, and perhaps another one behind the same name. What failed stays failed: a
    /// relay that closes the connection for a packet's size would go on doing that.
    mutating func reconnected(base: Int, largest: Int) {
        guard base == self.base, max(base, largest) == self.largest else {
            self = PacketSizer(base: base, largest: largest)
            return
        }
        self.lostInARow = 0
        if self.state == .found { self.state = .waiting(attempts: 0) }
    }

    /// Most bytes of a packet that is no probe.
    var size: Int { self.state == .found ? self.largest : self.base }

    /// Bytes that the next packet may have, when so many wait.
    func sizeOfNext(waiting bytes: Int) -> Int {
        if case .waiting = self.state, bytes >= self.largest { return self.largest }
        return self.size
    }

    /// A packet went out.
    mutating func sent(_ number: UInt64, size: Int) {
        guard case .waiting(let attempts) = self.state, size > self.base else { return }
        self.state = .probing(number: number, attempts: attempts + 1)
    }

    /// A packet arrived.
    mutating func acknowledged(_ number: UInt64, size: Int) {
        if case .probing(number, _) = self.state { self.state = .found }
        if size > self.base { self.lostInARow = 0 }
    }

    /// Whether a packet is the one that tries the larger size.
    func isProbe(_ number: UInt64) -> Bool {
        if case .probing(number, _) = self.state { true } else { false }
    }

    /// A packet counts as lost.
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

    /// The relay refused a packet of so many bytes. True if its size is the likely reason; none as large follows.
    mutating func refused(size: Int) -> Bool {
        guard size > self.base else { return false }
        self.state = .failed
        return true
    }
}
