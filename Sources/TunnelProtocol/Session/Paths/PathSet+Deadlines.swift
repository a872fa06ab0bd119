//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr

/// When paths are probed, and when something is due on one of them.
extension PathSet {
    // MARK: Probes

    /// Schedules the next probe. The interval doubles with each timeout. Its maximum is higher while another path is
    /// active.
    mutating func scheduleProbe(of index: Int, at now: NIODeadline) {
        guard self[index].health == .probing else { return }
        let timeout = self[index].rtt.probeTimeout(acknowledgementDelay: self.configuration.acknowledgementDelay)
        let (alone, beside) = self.configuration.probing
        let most = self.hasActivePath ? beside.nanoseconds : alone.nanoseconds
        let wait = min(most, timeout.nanoseconds << Int64(min(self[index].probe.count, 16)))
        self[index].probe.schedule(
            at: now + .nanoseconds(max(self.configuration.granularity.nanoseconds, wait))
        )
    }

    /// Whether a probe on the path at `index` should carry data, because no other path is active.
    func probeCarriesData(_ index: Int) -> Bool { !self.hasActivePath(beside: index) }

    /// Makes a probe of the path at `index` due, unless another packet that must be acknowledged is sent on it first.
    mutating func probeNow(_ index: Int, at now: NIODeadline) { self[index].probe.schedule(at: now) }

    /// Probes all paths at once that are probing, because the first packet of the peer arrived.
    mutating func probeNow(at now: NIODeadline) {
        for index in self.indices where self[index].health == .probing {
            self[index].probe.schedule(at: now)
        }
    }

    /// Probes the active paths whose RTT is not known, because bulk data does not use them while another path's is.
    mutating func measureAll(at now: NIODeadline) {
        guard self.indices.count > 1 else { return }
        for index in self.indices
        where self[index].health == .active && !self[index].rtt.hasSample
            && self[index].sent.elicitingInFlight == 0 && self[index].canAnswer(at: now)
        {
            self[index].probe.schedule(at: now)
        }
    }

    // MARK: Time

    /// When a loss or a probe is due; nil if neither is.
    var lossDeadline: NIODeadline? {
        var earliest: NIODeadline?
        for index in self.indices {
            if let loss = self[index].lossDeadline { earliest = min(earliest ?? loss, loss) }
            if let probe = self.probeDeadline(of: index) { earliest = min(earliest ?? probe, probe) }
        }
        return earliest
    }

    /// When the path at `index` must be probed; nil if no probe is needed.
    func probeDeadline(of index: Int) -> NIODeadline? {
        let deadline = self[index].probeDeadline(isAlone: !self.hasActivePath(beside: index))
        guard let standby = self.standbyDeadline(of: index) else { return deadline }
        return deadline.map { min($0, standby) } ?? standby
    }

    /// When the path at `index` must be probed because it waits while the direct path delivers; nil if it is in use. It must be
    /// known to work when it is needed.
    private func standbyDeadline(of index: Int) -> NIODeadline? {
        guard self.probesStandby, self[index].health == .active, self[index].sent.elicitingInFlight == 0,
            !self.isEligible(index)
        else { return nil }
        return self[index].probe.lastSent + self.configuration.standbyInterval
    }

    /// Makes a probe of standby due, which is no sign that the path is silent.
    mutating func probeStandby(_ index: Int, at now: NIODeadline) {
        guard let deadline = self.standbyDeadline(of: index), deadline <= now else { return }
        self[index].probe.schedule(at: now)
    }

    /// When an acknowledgement is due and a path can carry it; nil if none is.
    var acknowledgementDeadline: NIODeadline? {
        guard let due = self.indices.compactMap({ self[$0].received.deadline }).min() else { return nil }
        let waits = self.indices.filter { self[$0].health != .down && self[$0].isWritable }
            .map { self[$0].pacer.wait(at: due) ?? due }
        return waits.min().map { max(due, $0) }
    }
}
