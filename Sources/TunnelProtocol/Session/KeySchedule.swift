//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto

/// When the keys of a session are replaced: after some time, and after some number of bytes. The client starts an
/// update.
///
/// Each side sends its new public key in packets that are sealed with the old keys, so the new key is as authentic as
/// the session. Both sides accept packets under both generations for some time, and then erase the old keys.
struct KeySchedule: Sendable {
    /// An update that has not been completed.
    private struct Update: Hashable, Sendable {
        let generation: Int
        /// This side's key, or nil until the driver has created it.
        var key: PublicKey?
        /// The peer's key, or nil until it has arrived.
        var peer: PublicKey?
    }

    private let isExit: Bool
    private let shared: SharedSessionConfiguration
    private var configuration: SessionConfiguration { self.shared.value }
    /// The generation of the key that seals sent packets.
    private var generation = 0
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

    /// Counts the bytes of a packet that was sent.
    mutating func sealed(_ bytes: Int) { self.bytes += UInt64(bytes) }

    /// Counts the bytes of a packet that was received. Only the client counts both directions, because only the client
    /// starts updates.
    mutating func opened(_ bytes: Int) {
        if !self.isExit { self.bytes += UInt64(bytes) }
    }

    /// Whether a lost KEY_UPDATE frame of this generation must be sent again.
    func isNeeded(_ generation: UInt64) -> Bool { generation >= UInt64(self.generation) }

    // MARK: Time

    /// When ``advance(at:)`` must be called; nil if no key change is due.
    var nextDeadline: NIODeadline? {
        switch (self.updateDeadline, self.overlap?.until) {
        case (let update?, let overlap?): min(update, overlap)
        case (let update, let overlap): update ?? overlap
        }
    }

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

    /// Records the key that the driver created for an update. Returns the frame that announces it.
    mutating func prepared(_ generation: Int, _ key: PublicKey) -> SessionFrame? {
        guard self.update?.generation == generation, self.update?.key == nil else { return nil }
        self.update?.key = key
        return .keyUpdate(generation: UInt64(generation), key)
    }

    /// Handles the peer's key of the next generation.
    mutating func receive(
        _ generation: UInt64,
        _ key: PublicKey,
        at now: NIODeadline
    ) throws(SessionViolation) -> [SessionSignal] {
        guard generation == UInt64(self.generation) + 1 else {
            // An older generation was repeated because the acknowledgement arrived late.
            if generation > UInt64(self.generation) + 1 { throw SessionViolation() }
            return []
        }
        if let peer = self.update?.peer {
            if peer != key { throw SessionViolation() }
            return []
        }
        return try self.isExit ? self.respond(to: Int(generation), key, at: now) : self.complete(key, at: now)
    }

    /// Answers an update that the client started (exit).
    private mutating func respond(
        to generation: Int,
        _ key: PublicKey,
        at now: NIODeadline
    ) throws(SessionViolation) -> [SessionSignal] {
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
        self.update = Update(generation: generation, peer: key)
        signals.append(.makeKey(generation: generation))
        signals.append(.pair(generation: generation, key))
        return signals
    }

    /// Handles the exit's answer to an update (client).
    private mutating func complete(_ key: PublicKey, at now: NIODeadline) throws(SessionViolation) -> [SessionSignal] {
        guard let update, update.key != nil else { throw SessionViolation() }
        self.update?.peer = key
        return [.pair(generation: update.generation, key), self.become(update.generation, at: now)]
    }

    /// Handles a packet sealed under `generation`. It proves that the peer has the keys of that generation.
    mutating func heard(_ generation: Int, at now: NIODeadline) -> SessionSignal? {
        if self.isExit {
            guard generation == self.generation + 1, self.update?.key != nil else { return nil }
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
