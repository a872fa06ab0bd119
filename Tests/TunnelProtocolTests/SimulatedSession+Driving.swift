//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto

@testable import TunnelProtocol

/// Performs the actions of both state machines, as the drivers of real nodes do.
extension SimulatedSession {
    /// Opens a stream at the client; `change` adjusts what it will do.
    func open(_ raw: UInt64, sending bytes: [UInt8] = [], _ change: (inout Observed) -> Void = { _ in }) -> StreamID {
        let id = StreamID(rawValue: raw)
        var observed = Observed(toSend: bytes)
        change(&observed)
        self.streams[0][id] = observed
        self.ends[0].open(id, StreamRequest(destination: "x.nostr", port: 80), at: self.moment)
        self.settle()
        return id
    }

    /// Performs the actions of both ends until there are none left.
    func settle() {
        var isBusy = true
        while isBusy {
            isBusy = false
            for end in 0...1 {
                while let action = self.ends[end].nextAction() {
                    isBusy = true
                    self.perform(action, end)
                }
            }
        }
    }

    func perform(_ action: StreamAction<SessionSignal>, _ end: Int) {
        switch action {
        case .publish(let token, let plaintext, let createdAt, let paths, _, _):
            for path in paths { self.publish(token, plaintext, createdAt, path, by: end) }
        case .incoming(let id, let request):
            // The client's identity must arrive before its streams, however packets are reordered.
            if self.identifications != 1 { self.unidentified += 1 }
            switch self.dial(id, request) {
            case .success(let answer):
                self.streams[end][id] = Observed(
                    opened: true,
                    toSend: answer,
                    finishesAfterSending: !self.staysOpen.contains(id)
                )
                self.ends[end].connected(id, at: self.moment)
            case .failure(let refusal):
                self.ends[end].reset(id, refusal.end, at: self.moment)
            }
        case .opened(let id):
            self.streams[end][id]?.opened = true
        case .credit(let id, let bytes):
            self.streams[end][id]?.credit += bytes
            self.write(id, end)
        case .data(let id, let data):
            self.read(id, data, end)
        case .finished(let id):
            self.streams[end][id]?.finished = true
        case .ended(let id, let reason):
            self.streams[end][id]?.ended = .some(reason)
        case .signal(let signal):
            self.signals[end].append(signal)
            self.perform(signal, end)
        case .report(let report):
            self.reports[report, default: 0] += 1
        }
    }

    /// A message with keys that nobody uses, because packets are not encrypted.
    private static func update(_ generation: Int, _ content: KeyUpdate.Content) -> KeyUpdate {
        KeyUpdate(generation: generation, key: PublicKey(unchecked: .zero), content: content)
    }

    func perform(_ signal: SessionSignal, _ end: Int) {
        switch signal {
        case .makeKey(let generation):
            let message = Self.update(
                generation,
                .client(encapsulationKey: [UInt8](repeating: 1, count: KeyEncapsulation.keyLength))
            )
            self.after(.milliseconds(2)) { self.ends[end].keyPrepared(message, at: self.moment) }
        case .answerKey(let update):
            self.opening[end].insert(update.generation)
            let message = Self.update(
                update.generation,
                .exit(
                    ciphertext: [UInt8](repeating: 2, count: KeyEncapsulation.ciphertextLength),
                    Self.identity.signature
                )
            )
            self.after(.milliseconds(2)) { self.ends[end].keyPrepared(message, at: self.moment) }
        case .completeKey(let update): self.opening[end].insert(update.generation)
        case .sealUnder(let generation): self.sealing[end] = generation
        case .eraseKey(let generation): self.opening[end].remove(generation)
        case .identified: self.identifications += 1
        case .direct(let frame): self.directNetwork?.receive(frame, at: end)
        case .directPathIsSilent: self.directNetwork?.suspect(by: end)
        case .pathOffered, .ticket, .duplicateKey, .askPeer, .closed: break
        }
    }

    /// Sends as much as credit allows, then finishes or resets the stream as planned.
    func write(_ id: StreamID, _ end: Int) {
        guard var observed = self.streams[end][id], observed.ended == nil, !observed.isFinishedSending else { return }
        while observed.credit > 0, observed.sent < observed.toSend.count {
            let most = min(observed.credit, observed.toSend.count - observed.sent)
            let count = min(most, self.random(1...65_536))
            let part = ByteBuffer(bytes: observed.toSend[observed.sent..<(observed.sent + count)])
            observed.sent += count
            observed.credit -= count
            self.streams[end][id] = observed
            self.ends[end].send(id, part, at: self.moment)
        }
        if let limit = observed.resetsAfter, observed.sent >= limit {
            observed.isFinishedSending = true
            if !observed.resetsAfterDelivery { observed.ended = .some(.connectionReset) }
            self.streams[end][id] = observed
            if observed.resetsAfterDelivery {
                self.ends[end].resetAfterDelivery(id, .connectionReset, at: self.moment)
            } else {
                self.ends[end].reset(id, .connectionReset, at: self.moment)
            }
        } else if observed.sent == observed.toSend.count, observed.finishesAfterSending {
            observed.isFinishedSending = true
            self.streams[end][id] = observed
            self.ends[end].finish(id, at: self.moment)
        }
    }

    func read(_ id: StreamID, _ data: ByteBuffer, _ end: Int) {
        self.streams[end][id]?.data += Array(data.readableBytesView)
        let count = data.readableBytes
        if self.streams[end][id]?.readsSlowly == true {
            self.streams[end][id]?.unread += count
            return
        }
        // A socket takes a moment to accept the data.
        self.after(.microseconds(Int64(self.random(0...500)))) {
            self.ends[end].consumed(id, count, at: self.moment)
        }
    }

    /// Consumes all data that waits for a slow reader.
    func readEverything(_ id: StreamID, end: Int) {
        guard let unread = self.streams[end][id]?.unread, unread > 0 else { return }
        self.streams[end][id]?.unread = 0
        self.ends[end].consumed(id, unread, at: self.moment)
        self.settle()
    }
}
