//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr

/// Which path a packet takes: the one on which it arrives first.
///
/// A busy path may still deliver first. The data then waits for it, because a slower path would delay everything that
/// follows (earliest completion first; Lim et al., "ECF: An MPTCP path scheduler", CoNEXT 2017).
extension PathSet {
    /// Maximum number of bytes in flight above the congestion window, for small messages.
    private static let urgentBytes = 64 << 10
    /// By how much more than expected the nearest path may carry (BLEST's lambda).
    private static let blockingMargin = 3.0
    /// Minimum time until a choice is made again while a faster path is waited for.
    private static let shortestWait: TimeAmount = .milliseconds(1)

    // MARK: Direct path

    /// The position of the direct path, which has the highest number; nil if there is none.
    private var directIndex: Int? { self.indices.last.flatMap { self[$0].isDirect ? $0 : nil } }

    /// Whether the path at `index` is the direct one, and a probe timeout has passed since a packet on it was last acknowledged.
    func isSilentDirectPath(_ index: Int) -> Bool { self[index].isDirect && self[index].probe.count > 0 }

    /// Whether packets may take the path at `index`. While the direct path delivers, they take no other: relays belong to others,
    /// and wait until they are needed.
    func isEligible(_ index: Int) -> Bool { self.onlyPath.map { $0 == index } ?? true }

    /// The index of the only path that packets may take; nil if there are several.
    private var onlyPath: Int? {
        if self.indices.count == 1 { return 0 }
        return self.directIndex.flatMap { self[$0].health == .active && self[$0].probe.count == 0 ? $0 : nil }
    }

    // MARK: Bulk data

    private enum Choice {
        case path(Int)
        /// Another path, which is busy now, would deliver this much earlier.
        case wait(TimeAmount)
        /// No path can carry data now.
        case none
    }

    /// Returns the usable path on which a full packet, or `bytes` bytes if they are fewer, arrives first.
    private func earliest(
        _ bytes: Int,
        at now: NIODeadline,
        where isUsable: (SessionPath) -> Bool
    ) -> (index: Int, arrival: TimeAmount)? {
        var best: (index: Int, arrival: TimeAmount)?
        let only = self.onlyPath
        for index in self.indices where (only ?? index) == index && isUsable(self[index]) {
            let arrival = self[index].arrival(of: min(bytes, self[index].packetSize), at: now)
            if best.map({ arrival < $0.arrival }) ?? true { best = (index, arrival) }
        }
        return best
    }

    private func choice(_ demand: SendDemand, at now: NIODeadline) -> Choice {
        if let only = self.onlyPath { return self[only].canCarry(at: now) ? .path(only) : .none }
        // A path that was not measured yet may be a far one.
        let isMeasured = self.hasMeasuredPath
        func isKnown(_ path: SessionPath) -> Bool { path.rtt.hasSample || !isMeasured }
        guard let best = self.earliest(demand.bytes, at: now, where: { $0.canCarry(at: now) && isKnown($0) }) else {
            return .none
        }
        var advantage = TimeAmount.zero
        for index in self.indices
        where self[index].health == .active && !self[index].canCarry(at: now) && isKnown(self[index]) {
            advantage = max(advantage, best.arrival - self[index].arrival(of: demand.bytes, at: now))
        }
        if advantage > .zero { return .wait(advantage) }
        guard let nearest = self.blocked(by: best, room: demand.room, at: now) else { return .path(best.index) }
        if self[nearest].canCarry(at: now) { return .path(nearest) }
        return .wait(.nanoseconds(self[nearest].rtt.smoothed.nanoseconds / 4))
    }

    /// Returns the nearest path if a packet on the path `best` would keep it from sending: until the packet arrives, the
    /// receiver can pass on nothing that follows it, and the nearest path could send more than the receiver's window holds
    /// (blocking estimation; Ferlin et al., "BLEST", IFIP Networking 2016).
    private func blocked(by best: (index: Int, arrival: TimeAmount), room: Int, at now: NIODeadline) -> Int? {
        guard let nearest = self.fastest(at: now, where: { $0.health == .active && $0.rtt.hasSample }),
            nearest != best.index
        else { return nil }
        let path = self[nearest]
        let time = Double((best.arrival - path.messageArrival(at: now)).nanoseconds) / 1e9
        let bytes = Self.blockingMargin * path.model.expectedRate * time
        // The peer chooses the room, so the sum might not be an Int.
        return bytes > Double(room) + Double(path.sent.bytesInFlight) ? nearest : nil
    }

    /// The path for the next packet; nil if no path can carry one now, or if another path would deliver all that waits
    /// before the packet arrives, or if the packet would keep another path from sending.
    func forData(_ demand: SendDemand, at now: NIODeadline) -> Int? {
        if case .path(let index) = self.choice(demand, at: now) { index } else { nil }
    }

    /// When a path may carry what is due at `due`; nil if no path can before something changes.
    func sendDeadline(_ due: NIODeadline, _ demand: SendDemand) -> NIODeadline? {
        let again: NIODeadline?
        switch self.choice(demand, at: due) {
        case .path: return due
        case .wait(let advantage): again = due + max(Self.shortestWait, advantage)
        case .none: again = nil
        }
        let paced = self.indices.filter { self[$0].health == .active && self[$0].isWritable && self[$0].hasRoom }
            .compactMap { self[$0].wait(at: due) }.min()
        guard let again, let paced else { return again ?? paced }
        return min(again, paced)
    }

    // MARK: Small messages

    /// The active paths, the one on which a small message arrives first at the front.
    private func forMessages(at now: NIODeadline) -> [(index: Int, arrival: TimeAmount)] {
        if let only = self.onlyPath {
            return self[only].health == .active ? [(only, self[only].messageArrival(at: now))] : []
        }
        return self.indices.filter { self[$0].health == .active }
            .map { ($0, self[$0].messageArrival(at: now)) }
            .sorted { $0.1 < $1.1 }
    }

    private func canCarryMessage(_ index: Int) -> Bool {
        self[index].isWritable && self[index].sent.bytesInFlight < self[index].congestion.window + Self.urgentBytes
    }

    /// The path on which a small message arrives first; nil if it cannot carry one now. Its window may be exceeded by
    /// ``urgentBytes``.
    func forUrgentData(at now: NIODeadline) -> Int? {
        guard let first = self.onlyPath ?? self.forMessages(at: now).first?.index, self[first].health == .active,
            self.canCarryMessage(first), self[first].pacer.wait(at: now) == nil
        else { return nil }
        return first
    }

    /// When a small message that is due at `due` may be sent; nil if it cannot be before something changes.
    func urgentDeadline(_ due: NIODeadline) -> NIODeadline? {
        let paths = self.forMessages(at: due)
        guard let first = paths.first else { return nil }
        if self.canCarryMessage(first.index) { return self[first.index].pacer.wait(at: due) ?? due }
        return paths.dropFirst().first.map { due + max(Self.shortestWait, $0.arrival - first.arrival) }
    }

    // MARK: Reinjection

    /// Returns a packet in flight on a path that another one would deliver earlier (opportunistic retransmission; Raiciu et
    /// al., NSDI 2012). Each packet is returned at most once. Returns nil if no packet qualifies.
    ///
    /// - Parameters:
    ///   - isIdle: Whether nothing else waits to be sent. If not, only a packet counts whose acknowledgement is overdue.
    ///   - now: The current time.
    mutating func reinject(isIdle: Bool, at now: NIODeadline) -> SentPacket? {
        guard self.indices.count > 1 else { return nil }
        for index in self.indices where self[index].sent.elicitingInFlight > 0 && self.onlyPath != index {
            guard let arrival = self.arrivalBeside(index, at: now),
                let packet = self[index].reinjectable(arrival: arrival, isIdle: isIdle, at: now)
            else { continue }
            self[index].markReinjected(packet.number)
            return packet
        }
        return nil
    }

    /// When ``reinject(isIdle:at:)`` is due because an acknowledgement is overdue; nil if it is not.
    func reinjectionDeadline(isIdle: Bool, at now: NIODeadline) -> NIODeadline? {
        guard self.indices.count > 1 else { return nil }
        let only = self.onlyPath
        return self.indices.compactMap { index in
            guard self[index].sent.elicitingInFlight > 0, only != index else { return nil }
            return self.arrivalBeside(index, at: now).flatMap {
                self[index].reinjectionDeadline(arrival: $0, isIdle: isIdle)
            }
        }.min()
    }

    /// How long a full packet takes on the fastest path beside the one at `index`; nil if no other path can carry one now.
    private func arrivalBeside(_ index: Int, at now: NIODeadline) -> TimeAmount? {
        self.earliest(.max, at: now) { $0.id != self[index].id && $0.canCarry(at: now) }?.arrival
    }

    /// Records that nothing more is sent now, on all paths that could carry more.
    ///
    /// - Parameters:
    ///   - nothingWaits: Whether nothing waits to be sent. If not, the data waits for another path that delivers it earlier.
    ///   - now: The current time.
    mutating func becameAppLimited(nothingWaits: Bool, at now: NIODeadline) {
        for index in self.indices where self[index].health == .active && self[index].isWritable && self[index].hasRoom {
            if nothingWaits || self[index].wait(at: now) == nil { self[index].becameAppLimited() }
        }
    }
}
