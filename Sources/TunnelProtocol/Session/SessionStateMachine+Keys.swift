//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
public import NostrCrypto

/// Key updates, triggered by the age of the keys and by the number of bytes. The client starts an update. Each side
/// sends its new public key in packets that are sealed with the old keys, so the new key is as authentic as the
/// session. Both sides accept packets under both generations for some time, and then erase the old keys.
extension SessionStateMachine {
    /// When the client starts a key update. An exit only responds to one.
    var keyDeadline: NIODeadline? {
        guard !self.isExit, self.pending == nil, self.overlap == nil else { return nil }
        if self.generationBytes >= self.configuration.keyBytes { return self.generationStarted }
        return self.generationStarted + self.configuration.keyLifetime
    }

    mutating func advanceKeys(at now: Moment) {
        if let overlap, overlap.until <= now.monotonic {
            self.overlap = nil
            self.actions.append(.signal(.eraseKey(generation: overlap.generation)))
        }
        guard let due = self.keyDeadline, due <= now.monotonic else { return }
        self.pending = (self.generation + 1, nil, nil)
        self.actions.append(.signal(.makeKey(generation: self.generation + 1)))
    }

    public mutating func keyPrepared(_ generation: Int, _ key: PublicKey, at now: Moment) {
        guard self.pending?.generation == generation, self.pending?.key == nil else { return }
        self.pending?.key = key
        self.control.append(.keyUpdate(generation: UInt64(generation), key))
        self.pump(at: now)
    }

    mutating func receiveKey(_ generation: UInt64, _ key: PublicKey, at now: Moment) {
        guard generation == UInt64(self.generation) + 1 else {
            // The peer repeated the key because the acknowledgement arrived late.
            if generation > UInt64(self.generation) + 1 { self.violation(at: now) }
            return
        }
        if let peer = self.pending?.peer {
            if peer != key { self.violation(at: now) }
            return
        }
        let next = Int(generation)
        if self.isExit {
            if let overlap {
                // A client ends its overlap later than the exit does, so an update before half of the overlap is a
                // violation.
                guard overlap.until - .nanoseconds(self.configuration.keyOverlap.nanoseconds / 2) <= now.monotonic
                else {
                    self.violation(at: now)
                    return
                }
                self.overlap = nil
                self.actions.append(.signal(.eraseKey(generation: overlap.generation)))
            }
            self.pending = (next, nil, key)
            self.actions.append(.signal(.makeKey(generation: next)))
            self.actions.append(.signal(.pair(generation: next, key)))
        } else {
            guard self.pending?.key != nil else {
                self.violation(at: now)
                return
            }
            self.pending?.peer = key
            self.actions.append(.signal(.pair(generation: next, key)))
            self.become(next, at: now)
        }
    }

    /// Seals packets under the next generation from now on.
    private mutating func become(_ generation: Int, at now: Moment) {
        self.generation = generation
        self.generationStarted = now.monotonic
        self.generationBytes = 0
        self.actions.append(.signal(.sealUnder(generation: generation)))
        if self.isExit { self.retire(generation - 1, at: now) }
    }

    private mutating func retire(_ generation: Int, at now: Moment) {
        self.pending = nil
        self.overlap = (generation, now.monotonic + self.configuration.keyOverlap)
    }

    /// Handles a packet sealed under `generation`. It proves that the peer has the keys of that generation.
    mutating func heardGeneration(_ generation: Int, at now: Moment) {
        if self.isExit {
            if generation == self.generation + 1, self.pending?.key != nil { self.become(generation, at: now) }
        } else if generation == self.generation, self.pending?.generation == generation {
            self.retire(generation - 1, at: now)
        }
    }
}
