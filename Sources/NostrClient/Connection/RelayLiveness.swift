//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore

/// Receives what a ``RelayLiveness`` finds.
protocol RelayLivenessDelegate: AnyObject {
    /// The relay, or the network, does not answer. Called about once a second until something is received.
    func livenessFoundSilence()
    /// The relay does not answer pings. Send a message that it answers.
    func livenessNeedsMessage()
}

/// Finds out whether an open connection to a relay still works: sends pings while it is idle, and watches for missing
/// answers.
///
/// All methods must be called on the event loop of the connection.
final class RelayLiveness {
    /// Time between pings of an idle connection. Home routers forget idle connections after a minute or more.
    static let pingInterval: TimeAmount = .seconds(25)
    /// Time between two reports of silence.
    private static let reportInterval: TimeAmount = .seconds(1)

    private let socket: WebSocket
    private weak var delegate: (any RelayLivenessDelegate)?
    private var watch = AnswerWatch()
    private var check: Scheduled<Void>?
    private var pinger: Scheduled<Void>?
    private var heardSincePing = false
    private var isStopped = false
    private(set) var isSilent = false

    init(_ socket: WebSocket, delegate: any RelayLivenessDelegate) {
        self.socket = socket
        self.delegate = delegate
    }

    /// Sends the first ping, by which it becomes known whether the relay answers pings.
    func start() {
        self.socket.ping()
        self.armPinger()
    }

    func stop() {
        self.isStopped = true
        self.check?.cancel()
        self.pinger?.cancel()
        self.delegate = nil
    }

    /// Records that something was received.
    func heard() {
        self.heardSincePing = true
        self.isSilent = false
        self.watch.heard()
    }

    /// Records that a message was sent which the relay answers.
    func expectAnswer() {
        self.watch.sent(at: .now())
        self.arm()
    }

    /// Finds out soon whether the connection still exists.
    func verify() {
        self.watch.verify(at: .now())
        self.check?.cancel()
        self.check = nil
        self.arm()
        self.ask()
    }

    private func ask() {
        self.socket.ping()
        if !self.socket.hasAnsweredPing { self.delegate?.livenessNeedsMessage() }
    }

    private func armPinger() {
        let bound = NIOLoopBound(self, eventLoop: self.socket.eventLoop)
        self.pinger = self.socket.eventLoop.scheduleTask(in: Self.pingInterval) { bound.value.pingIfIdle() }
    }

    private func pingIfIdle() {
        if !self.heardSincePing {
            self.ask()
            self.expectAnswer()
        }
        self.heardSincePing = false
        self.armPinger()
    }

    private func arm() {
        guard self.check == nil, let time = self.watch.checkTime else { return }
        self.arm(at: time)
    }

    private func arm(at time: NIODeadline) {
        let bound = NIOLoopBound(self, eventLoop: self.socket.eventLoop)
        self.check = self.socket.eventLoop.scheduleTask(deadline: time) { bound.value.inspect() }
    }

    private func inspect() {
        self.check = nil
        // Most answers have arrived, so the kernel is not asked.
        if case .answered = self.watch.verdict(isUnacknowledged: false, at: .now()) { return }
        let bound = NIOLoopBound(self, eventLoop: self.socket.eventLoop)
        self.socket.isUnacknowledged(for: self.watch.networkTimeout).whenComplete { result in
            bound.value.judge(isUnacknowledged: (try? result.get()) ?? false)
        }
    }

    private func judge(isUnacknowledged: Bool) {
        guard !self.isStopped, self.check == nil else { return }
        let now = NIODeadline.now()
        switch self.watch.verdict(isUnacknowledged: isUnacknowledged, at: now) {
        case .answered: return
        case .wait(let time): self.arm(at: time)
        case .silent:
            self.isSilent = true
            self.arm(at: now + Self.reportInterval)
            self.delegate?.livenessFoundSilence()
        }
    }
}
