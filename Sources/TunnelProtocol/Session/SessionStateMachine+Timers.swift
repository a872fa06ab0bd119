//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

extension SessionStateMachine {
    public var nextDeadline: NIODeadline? {
        guard !self.isClosed else { return nil }
        var earliest = self.lastHeard + self.configuration.peerTimeout
        func consider(_ deadline: NIODeadline?) {
            if let deadline, deadline < earliest { earliest = deadline }
        }
        for path in self.paths {
            consider(path.lossDeadline)
            consider(path.probeDeadline(acknowledgementDelay: self.configuration.acknowledgementDelay))
        }
        consider(self.acknowledgementDeadline)
        consider(self.mustGoOn ? self.queuedSince : self.sendDeadline)
        consider(self.keepAliveDeadline)
        consider(self.questionDeadline)
        consider(self.keyDeadline)
        consider(self.overlap?.until)
        consider(self.streamTimers.nextDeadline)
        return earliest
    }

    /// When an acknowledgement is due and a path can carry it.
    private var acknowledgementDeadline: NIODeadline? {
        guard let due = self.paths.compactMap(\.received.deadline).min() else { return nil }
        let waits = self.paths.filter { $0.health != .down && $0.isWritable }
            .map { $0.pacer.wait(at: due) ?? due }
        return waits.min().map { max(due, $0) }
    }

    /// When waiting data can be sent: at the end of the coalescing delay, or later if the pacer requires it.
    private var sendDeadline: NIODeadline? {
        guard !self.control.isEmpty || !self.eager.isEmpty || !self.queued.isEmpty,
            let coalescing = self.coalescingDeadline
        else { return nil }
        return self.paths.filter { $0.health == .active && $0.isWritable && $0.hasRoom }
            .map { $0.pacer.wait(at: coalescing) ?? coalescing }.min()
    }

    private var keepAliveDeadline: NIODeadline? {
        guard self.liveStreams > 0 else { return nil }
        // A client that only receives has no unanswered packet by which it could detect that the exit is lost.
        if !self.isExit, let lastData, lastData > self.lastKeepAlive {
            return self.lastHeard + self.configuration.suspicion
        }
        return max(self.lastHeard, self.lastKeepAlive) + self.configuration.keepAlive
    }

    private var questionDeadline: NIODeadline? {
        guard !self.isExit, let unansweredSince else { return nil }
        return self.nextQuestion ?? unansweredSince + self.configuration.suspicion
    }

    public mutating func timeout(at now: Moment) {
        guard !self.isClosed else { return }
        guard self.lastHeard + self.configuration.peerTimeout > now.monotonic else {
            self.close(.peerLost, at: now)
            return
        }
        for index in self.paths.indices {
            if let due = self.paths[index].lossDeadline, due <= now.monotonic {
                self.sendAgain(self.paths[index].detectLosses(at: now.monotonic), at: now)
            }
            let probe = self.paths[index].probeDeadline(acknowledgementDelay: self.configuration.acknowledgementDelay)
            if let probe, probe <= now.monotonic { self.probeTimedOut(index, at: now) }
        }
        while let id = self.streamTimers.popDue(now.monotonic) { self.streamTimedOut(id, at: now) }
        if let due = self.keepAliveDeadline, due <= now.monotonic { self.keepAlive(at: now) }
        if let due = self.questionDeadline, due <= now.monotonic { self.askPeer(at: now) }
        self.advanceKeys(at: now)
        self.pump(at: now)
    }

    private mutating func streamTimedOut(_ id: StreamID, at now: Moment) {
        guard let stream = self.streams[id] else { return }
        switch stream.phase {
        case .requested:
            self.stillRequested(id, stream, at: now)
        case .open, .dialling:
            guard let timeout = self.configuration.streamIdleTimeout else { return }
            if stream.lastActivity + timeout <= now.monotonic {
                self.resetLocally(id, .idle, tellDriver: true, stopsPeer: true)
            } else {
                self.streamTimers.schedule(id, at: stream.lastActivity + timeout)
            }
        case .reset:
            break
        }
    }

    /// Handles a stream that the exit has not answered. It fails, or is checked again later.
    private mutating func stillRequested(_ id: StreamID, _ stream: SessionStream, at now: Moment) {
        let waited = now.monotonic - stream.startedAt
        let reason: StreamEnd? =
            if waited >= self.configuration.openTimeout {
                .exitSilent
            } else if self.isDeserted {
                .exitSilent
            } else if waited >= self.configuration.relayPatience, self.paths.allSatisfy({ $0.health == .down }) {
                .noRelay
            } else {
                nil
            }
        if let reason {
            self.resetLocally(id, reason, tellDriver: true, stopsPeer: true)
        } else {
            let next = min(now.monotonic + .seconds(1), stream.startedAt + self.configuration.openTimeout)
            self.streamTimers.schedule(id, at: next)
        }
    }

    private mutating func keepAlive(at now: Moment) {
        self.lastKeepAlive = now.monotonic
        guard
            let index = self.paths.indices.filter({ self.paths[$0].health == .active && self.paths[$0].isWritable })
                .min(by: { self.paths[$0].rtt.smoothed < self.paths[$1].rtt.smoothed })
        else { return }
        self.sendPacket(on: index, carriesData: true, isProbe: true, at: now)
    }

    /// Time between ``SessionSignal/askPeer`` signals while a new stream waits for the exit.
    private static let urgentQuestions: TimeAmount = .milliseconds(800)

    /// Whether a stream waits for the exit to open it (client).
    var hasRequests: Bool { !self.isExit && self.streams.values.contains { $0.phase == .requested } }

    /// Asks the exit sooner if no relay has it subscribed. It may have reconnected since the last report.
    mutating func askSooner(at now: Moment) {
        guard !self.isExit, self.isDeserted else { return }
        let soon = self.lastQuestion.map { max(now.monotonic, $0 + Self.urgentQuestions) } ?? now.monotonic
        self.nextQuestion = min(self.nextQuestion ?? soon, soon)
        if self.unansweredSince == nil { self.unansweredSince = now.monotonic }
    }

    /// Asks whether the exit has restarted, at increasing intervals.
    private mutating func askPeer(at now: Moment) {
        self.questions += 1
        // The interval stays short while a new stream waits.
        let wait =
            self.hasRequests
            ? Self.urgentQuestions
            : .nanoseconds(self.configuration.suspicion.nanoseconds << Int64(min(self.questions, 3)))
        self.nextQuestion = now.monotonic + wait
        self.lastQuestion = now.monotonic
        if self.paths.contains(where: { $0.health != .down }) { self.actions.append(.signal(.askPeer)) }
    }
}
