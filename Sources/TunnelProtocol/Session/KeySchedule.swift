//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// When the keys of a session are replaced: after some time, and after some number of bytes. The client starts an
/// update.
///
/// Both sides agree on the new keys with ``KeyUpdate`` messages. They accept packets under both generations for some
/// time, and then erase the old keys.
struct KeySchedule: Sendable {
    /// An update that has not been completed.
    private struct Update: Hashable, Sendable {
        let generation: Int
        /// Whether this side's message was queued.
        var isAnnounced = false
    }

    private let isExit: Bool
    private let shared: SharedSessionConfiguration
    private var configuration: SessionConfiguration { self.shared.value }
    /// The generation of the key that seals sent packets.
    private(set) var generation = 0
    private var startedAt: NIODeadline
    /// Bytes of packets, sent by this side and at the client also received, with the keys of the current generation.
    private var bytes: UInt64 = 0
    private var update: Update?
    /// The previous generation, and when its keys are erased.
    private var overlap: (generation: Int, until: NIODeadline)?

    init(role: SessionStateMachine.Role, configuration: SharedSessionConfiguration, now: NIODeadline) {
        self.isExit = role == .exit
        self.shared = configuration
        self.startedAt = now
    }

    // MARK: Use

    /// The least that each packet counts. A key then seals at most 4 million datagrams, half of what AES-GCM allows
    /// (``DatagramKey/confidentialityLimit``).
    private static let leastCount = 1_024

    /// Counts packets that were sent.
    mutating func sealed(_ bytes: Int, packets: Int) { self.bytes += UInt64(max(bytes, packets * Self.leastCount)) }

    /// Counts the bytes of a packet that was received. Only the client counts both directions, because only the client
    /// starts updates.
    mutating func opened(_ bytes: Int) {
        if !self.isExit { self.bytes += UInt64(max(bytes, Self.leastCount)) }
    }

    // MARK: Time

    /// When ``advance(at:)`` must be called; nil if no key change is due.
    var nextDeadline: NIODeadline? {
        [self.updateDeadline, self.overlap?.until, self.expiration].compactMap { $0 }.min()
    }

    /// When an exit ends the session, because the client has not renewed the keys for twice their lifetime, and the time for
    /// which a session survives without relays. Somebody who has obtained the keys of one generation can then not keep the
    /// session.
    private var expiration: NIODeadline? {
        guard self.isExit else { return nil }
        let lifetime = self.configuration.keyLifetime
        return self.startedAt + lifetime + lifetime + self.configuration.peerTimeout
    }

    /// Whether the client has not renewed the keys for too long (exit).
    func isExpired(at now: NIODeadline) -> Bool { self.expiration.map { $0 <= now } ?? false }

    /// When the client starts a key update. An exit only responds to one.
    private var updateDeadline: NIODeadline? {
        guard !self.isExit, self.update == nil, self.overlap == nil else { return nil }
        if self.bytes >= self.configuration.keyBytes { return self.startedAt }
        return self.startedAt + self.configuration.keyLifetime
    }

    /// Erases old keys and starts an update, if either is due.
    mutating func advance(at now: NIODeadline) -> [SessionSignal] {
        var signals: [SessionSignal] = []
        if let overlap, overlap.until <= now {
            self.overlap = nil
            signals.append(.eraseKey(generation: overlap.generation))
        }
        guard let due = self.updateDeadline, due <= now else { return signals }
        self.update = Update(generation: self.generation + 1)
        signals.append(.makeKey(generation: self.generation + 1))
        return signals
    }

    // MARK: Updates

    /// Records that the driver made this side's message of an update. Returns whether it is to be sent.
    mutating func prepared(_ message: KeyUpdate) -> Bool {
        guard self.update?.generation == message.generation, self.update?.isAnnounced == false else { return false }
        self.update?.isAnnounced = true
        return true
    }

    /// Handles the peer's message.
    mutating func receive(_ message: KeyUpdate, at now: NIODeadline) throws(SessionViolation) -> [SessionSignal] {
        guard message.generation == self.generation + 1 else { throw SessionViolation() }
        switch (message.content, self.isExit) {
        case (.client, true): return try self.respond(to: message, at: now)
        case (.exit, false):
            guard self.update?.isAnnounced == true else { throw SessionViolation() }
            return [.completeKey(message), self.become(message.generation, at: now)]
        case (.client, false), (.exit, true): throw SessionViolation()
        }
    }

    /// Answers an update that the client started (exit).
    private mutating func respond(
        to message: KeyUpdate,
        at now: NIODeadline
    ) throws(SessionViolation) -> [SessionSignal] {
        guard self.update == nil else { throw SessionViolation() }
        var signals: [SessionSignal] = []
        if let overlap {
            // A client ends its overlap later than the exit does, so an update before half of the overlap is a
            // violation.
            guard overlap.until - .nanoseconds(self.configuration.keyOverlap.nanoseconds / 2) <= now else {
                throw SessionViolation()
            }
            self.overlap = nil
            signals.append(.eraseKey(generation: overlap.generation))
        }
        self.update = Update(generation: message.generation)
        signals.append(.answerKey(message))
        return signals
    }

    /// Handles a packet sealed under `generation`. It proves that the peer has the keys of that generation.
    mutating func heard(_ generation: Int, at now: NIODeadline) -> SessionSignal? {
        if self.isExit {
            guard generation == self.generation + 1, self.update?.isAnnounced == true else { return nil }
            return self.become(generation, at: now)
        }
        if generation == self.generation, self.update?.generation == generation {
            self.retire(generation - 1, at: now)
        }
        return nil
    }

    /// Seals packets under the next generation from now on.
    private mutating func become(_ generation: Int, at now: NIODeadline) -> SessionSignal {
        self.generation = generation
        self.startedAt = now
        self.bytes = 0
        if self.isExit { self.retire(generation - 1, at: now) }
        return .sealUnder(generation: generation)
    }

    /// Ends the update. Packets under `generation` are accepted for some more time.
    private mutating func retire(_ generation: Int, at now: NIODeadline) {
        self.update = nil
        self.overlap = (generation, now + self.configuration.keyOverlap)
    }
}
