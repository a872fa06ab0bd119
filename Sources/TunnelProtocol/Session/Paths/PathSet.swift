//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr

/// The paths of a session: which are in use, which one a packet takes, and what was received on each.
///
/// Paths are addressed by their position, in ascending order of their identifiers.
struct PathSet: Sendable {
    private let shared: SharedSessionConfiguration
    var configuration: SessionConfiguration { self.shared.value }
    /// Maximum packet size in bytes that the peer accepts.
    private let peerTakes: UInt64
    private var paths: [SessionPath] = []
    /// Whether acknowledgements are sent on all paths. Set when a probe times out; cleared by the next new
    /// acknowledgement.
    private(set) var acknowledgesEverywhere = false

    /// Whether this side probes relays that wait while the direct path delivers (client). The answers show the other side that
    /// they still work.
    let probesStandby: Bool

    init(_ configuration: SharedSessionConfiguration, peerTakes: UInt64, probesStandby: Bool = false) {
        self.probesStandby = probesStandby
        self.shared = configuration
        self.peerTakes = peerTakes
    }

    subscript(index: Int) -> SessionPath {
        // The array's own subscript would copy the whole path.
        _read { yield self.paths.span[index] }
        _modify { yield &self.paths[index] }
    }

    var indices: Range<Int> { self.paths.indices }

    func index(of path: PathID) -> Int? { self.indices.first { self[$0].id == path } }

    // MARK: State

    var reachability: Reachability {
        let up = self.indices.lazy.filter { self[$0].health != .down }
        if up.isEmpty { return .noRelay }
        return up.allSatisfy { self[$0].isDeserted } ? .peerIsAbsent : .reachable
    }

    /// The reachability, where the peer counts as absent only after the relays have reported that for `time`. It may be about
    /// to subscribe, because a relay was restarted.
    func reachability(absentFor time: TimeAmount, at now: NIODeadline) -> Reachability {
        let reachability = self.reachability
        guard reachability == .peerIsAbsent else { return reachability }
        let isAbsent = self.paths.allSatisfy {
            $0.health == .down || $0.desertedSince.map { $0 + time <= now } ?? false
        }
        return isAbsent ? .peerIsAbsent : .reachable
    }

    var hasActivePath: Bool { self.indices.contains { self[$0].health == .active } }

    func hasActivePath(beside index: Int) -> Bool {
        self.indices.contains { $0 != index && self[$0].health == .active }
    }

    /// Whether the RTT of an active path was measured.
    var hasMeasuredPath: Bool { self.indices.contains { self[$0].health == .active && self[$0].rtt.hasSample } }

    /// The shortest smoothed RTT of an active path.
    var shortestRTT: TimeAmount {
        let active = self.indices.lazy.filter { self[$0].health == .active }
        return active.map { self[$0].rtt.smoothed }.min() ?? self.configuration.initialRTT
    }

    /// Measurements of the active paths.
    var status: [PathStatus] {
        self.paths.filter { $0.health == .active }.map {
            PathStatus(
                path: $0.id,
                roundTrip: $0.rtt.latest == nil ? nil : $0.rtt.smoothed,
                sent: $0.sent.nextNumber,
                lost: $0.sent.lostCount
            )
        }
    }

    // MARK: Adding and removing

    /// Adds a path, or updates its description. Returns its position if it was not in use before.
    mutating func add(_ path: PathID, _ description: PathDescription, at now: NIODeadline) -> Int? {
        guard (0...PathID.direct.rawValue).contains(path.rawValue),
            description.maximumPlaintext >= SessionConfiguration.minimumPacket
        else { return nil }
        let index: Int
        if let known = self.index(of: path) {
            index = known
            self.paths[index].update(description, peerTakes: self.peerTakes)
        } else {
            index = self.paths.firstIndex { $0.id.rawValue > path.rawValue } ?? self.paths.count
            let added = SessionPath(
                id: path,
                description: description,
                configuration: self.shared,
                peerTakes: self.peerTakes
            )
            self.paths.insert(added, at: index)
        }
        guard self.paths[index].health == .down else { return nil }
        self.paths[index].setWritable(true, at: now)
        self.paths[index].probe.connected()
        // Without another active path, the path is used immediately. Otherwise a probe must be acknowledged first.
        self.paths[index].health = self.hasActivePath ? .probing : .active
        return index
    }

    /// Stops using a path. Returns the frames in flight on it, which other paths must send again; nil if it was not in
    /// use.
    mutating func remove(_ path: PathID, at now: NIODeadline) -> [SessionFrame]? {
        guard let index = self.index(of: path), self.paths[index].health != .down else { return nil }
        let wasActive = self.paths[index].health == .active
        self.paths[index].health = .down
        self.paths[index].probe.cancel()
        if wasActive { self.probeSoonIfNoneIsActive(at: now) }
        return self.paths[index].loseAll(at: now)
    }

    // MARK: Acknowledgements

    /// The usable path on which a small message arrives first.
    func fastest(at now: NIODeadline, where isUsable: (SessionPath) -> Bool) -> Int? {
        var best: (index: Int, arrival: TimeAmount)?
        for index in self.paths.indices where isUsable(self.paths[index]) && self.isEligible(index) {
            let arrival = self.paths[index].messageArrival(at: now)
            if best.map({ arrival < $0.arrival }) ?? true { best = (index, arrival) }
        }
        return best?.index
    }

    /// The fastest path for a keep-alive.
    func forKeepAlive(at now: NIODeadline) -> Int? {
        self.fastest(at: now) { $0.health == .active && $0.canAnswer(at: now) }
    }

    /// The paths that can carry an acknowledgement now.
    func forAcknowledgements(at now: NIODeadline) -> [Int] {
        self.paths.indices.filter { self.paths[$0].canAnswer(at: now) }
    }

    /// The path for acknowledgements of packets on the path at `index`: the same path for a probe if possible,
    /// otherwise the fastest usable path.
    func forAcknowledgement(of index: Int, at now: NIODeadline) -> Int? {
        if self.paths[index].received.mustAnswerHere, self.paths[index].canAnswer(at: now) { return index }
        return self.fastest(at: now) { $0.canAnswer(at: now) && $0.health == .active }
            ?? self.fastest(at: now) { $0.canAnswer(at: now) }
    }

    /// Checks a packet before its frames are decoded. Throws if it must be ignored.
    func check(_ header: SessionPacketHeader, on path: PathID) throws(PacketRejection) {
        guard header.path == path, let index = self.index(of: path) else { throw .wrongPath }
        guard !self.paths[index].received.isRepeated(header.number) else { throw .repeated }
    }

    /// Records a received packet. Returns the position of its path. Throws if the packet must be ignored.
    mutating func received(
        _ header: SessionPacketHeader,
        on path: PathID,
        at now: NIODeadline
    ) throws(PacketRejection) -> Int {
        guard header.path == path, let index = self.index(of: path) else { throw .wrongPath }
        guard !self.paths[index].received.isRepeated(header.number) else { throw .repeated }
        self.paths[index].received.insert(header.number, at: now)
        return index
    }

    /// Writes the pending acknowledgements of all paths into a packet. Returns whether any was written.
    ///
    /// - Parameters:
    ///   - packet: The packet.
    ///   - size: Maximum size of the packet in bytes.
    ///   - index: The path of the packet.
    ///   - now: The current time.
    mutating func writeAcknowledgements(
        into packet: inout ByteBuffer,
        size: Int,
        on index: Int,
        at now: NIODeadline
    ) -> Bool {
        var hasWritten = false
        for other in self.paths.indices where self.paths[other].received.deadline != nil {
            // A probe is acknowledged on its own path, so that the path's own round-trip time is measured. If that is
            // not possible now, another path is used.
            if other != index, self.paths[other].received.mustAnswerHere, self.paths[other].canAnswer(at: now),
                !self.acknowledgesEverywhere
            {
                continue
            }
            guard
                let acknowledgement = self.paths[other].received.acknowledgement(
                    of: self.paths[other].id,
                    fitting: size - packet.readableBytes,
                    at: now
                )
            else { continue }
            SessionFrame.acknowledgement(acknowledgement).encode(into: &packet)
            self.paths[other].received.acknowledgementWasSent()
            hasWritten = true
        }
        return hasWritten
    }

    /// The frames that an acknowledgement concerns.
    struct Acknowledged {
        /// Frames that arrived.
        var arrived: [SessionFrame]
        /// Frames that were found to be lost.
        var lost: [SessionFrame]
    }

    /// Handles an ACK frame, which arrived on `path`. Returns nil if it contains nothing new. The peer must not acknowledge
    /// packets that were never sent.
    mutating func acknowledged(
        _ acknowledgement: SessionFrame.Acknowledgement,
        on path: PathID,
        at now: NIODeadline
    ) throws(SessionViolation) -> Acknowledged? {
        guard let index = self.index(of: acknowledgement.path) else { return nil }
        let returnDelay =
            path == acknowledgement.path ? nil : self.index(of: path).flatMap { self.paths[$0].model.forwardDelay }
        guard let result = self.paths[index].acknowledged(acknowledgement, returnDelay: returnDelay, at: now) else {
            throw SessionViolation()
        }
        guard result.isNew else { return nil }
        self.acknowledgesEverywhere = false
        if result.isCurrent, self.paths[index].health == .probing {
            self.paths[index].health = .active
            self.paths[index].probe.cancel()
        }
        return Acknowledged(arrived: result.frames, lost: self.paths[index].detectLosses(at: now))
    }

    // MARK: Outcomes

    /// Handles the relay's answer to a packet. Returns the frames to send again.
    mutating func published(
        _ number: UInt64,
        _ outcome: PublishOutcome,
        on index: Int,
        at now: NIODeadline
    ) -> [SessionFrame] {
        switch outcome {
        case .accepted:
            self.paths[index].pacer.accepted(at: now)
            return []
        case .rejected(.rateLimited):
            self.paths[index].wasRateLimited(number, at: now)
            return self.paths[index].lose(number, isForItsSize: false, at: now)
        case .rejected(.held(let time)):
            self.paths[index].pacer.hold(until: now + time)
            return self.paths[index].lose(number, isForItsSize: false, at: now)
        case .rejected(.noSubscriber):
            // The peer is not subscribed at this relay, or no longer.
            self.paths[index].wasDeserted(at: now)
            return self.paths[index].lose(number, isForItsSize: false, at: now) + self.doubt(index, at: now)
        case .rejected(.refused):
            let isForItsSize = self.paths[index].wasRefused(number)
            let frames = self.paths[index].lose(number, at: now)
            return isForItsSize ? frames : frames + self.doubt(index, at: now)
        case .rejected(.unreachable), .lost:
            return self.paths[index].lose(number, at: now)
        }
    }

    /// Stops using a path for data until a probe is acknowledged. Returns the frames in flight.
    private mutating func doubt(_ index: Int, at now: NIODeadline) -> [SessionFrame] {
        guard self.paths[index].health == .active else { return [] }
        self.paths[index].health = .probing
        let frames = self.paths[index].loseAll(at: now)
        self.probeSoonIfNoneIsActive(at: now)
        self.scheduleProbe(of: index, at: now)
        return frames
    }

    // MARK: Probes

    /// Handles a probe timeout: nothing was acknowledged on a path for too long (RFC 9002, section 6.2). Returns the
    /// frames to send again.
    mutating func probeTimedOut(_ index: Int, at now: NIODeadline) -> [SessionFrame] {
        let wasActive = self.paths[index].health == .active
        let count = self.paths[index].probe.count
        let frames = self.paths[index].probeTimedOut(isAlone: !self.hasActivePath(beside: index), at: now)
        if self.paths[index].probe.count > count { self.acknowledgesEverywhere = true }
        if wasActive, self.paths[index].health != .active { self.probeSoonIfNoneIsActive(at: now) }
        return frames
    }

    /// Probes all paths at once that are probing, if the last active path was lost. The times between their probes are long while
    /// another path is active.
    private mutating func probeSoonIfNoneIsActive(at now: NIODeadline) {
        if !self.hasActivePath { self.probeNow(at: now) }
    }
}
