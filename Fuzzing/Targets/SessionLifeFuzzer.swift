//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import TunnelProtocol

/// Fuzzes a whole session with a sequence of operations: packets with any key and packet number, calls of the driver,
/// path changes, and the passage of time.
struct SessionLifeFuzzer {
    /// The rest of the input, which selects the next operations.
    private var bytes: ArraySlice<UInt8>
    private let isExit: Bool
    /// Whether a new key is reported as prepared immediately, while the session's actions are still being performed.
    private let preparesKeysImmediately: Bool
    private var machine: SessionStateMachine
    private var nanoseconds: UInt64 = 1_000_000
    private var tokens: [(token: MessageToken, path: PathID)] = []
    private var credit: [StreamID: Int] = [:]
    private var handed: [StreamID: Int] = [:]
    private var opened: UInt64 = 0
    /// The number of the next packet to receive.
    private var number: UInt64 = 0
    /// Total bytes of the packets received so far.
    private var given = 0
    /// Offset of the next CRYPTO frame.
    private var cryptoOffset: UInt64 = 0
    private var keys = Keys()
    private var isClosed = false

    /// The generations of keys, as a driver keeps track of them.
    private struct Keys {
        /// The generation that the session has requested and that is not prepared yet.
        var wanted: Int?
        /// Generations whose key is prepared on this side.
        var prepared: Set<Int> = []
        /// Generations that are paired with the peer's key. Their packets can be decrypted.
        var paired: Set<Int> = [0]
        /// The generation that is used to encrypt.
        var sealing = 0
    }

    init(_ input: [UInt8]) {
        self.bytes = input[...]
        let first = self.bytes.popFirst() ?? 0
        self.isExit = first & 1 == 1
        self.preparesKeysImmediately = first & 2 == 2
        self.machine = SessionFuzzer.machine(self.isExit ? .exit : .client)
    }

    private var now: Moment { Moment(monotonic: .uptimeNanoseconds(self.nanoseconds), seconds: 1_800_000_000) }

    private mutating func byte() -> UInt8 { self.bytes.popFirst() ?? 0 }

    private mutating func take(_ count: Int) -> [UInt8] {
        let part = self.bytes.prefix(count)
        self.bytes = self.bytes.dropFirst(count)
        return Array(part)
    }

    mutating func run() {
        while !self.bytes.isEmpty {
            self.step()
            while let action = self.machine.nextAction() { self.obey(action) }
            precondition(self.machine.streamCount <= 8)
            // Each piece of out-of-order data uses up to 128 bytes of memory in addition to its length, and occupies at
            // least 4 bytes of a packet.
            precondition(self.machine.heldBytes <= 8 * 4_096 + 16_384 + 128 * (self.given / 4))
            _ = self.machine.nextDeadline
        }
        SessionFuzzer.finish(&self.machine, self.now)
    }

    private mutating func step() {
        let id = StreamID(rawValue: UInt64(self.byte() & 7) + 1)
        switch self.byte() & 15 {
        case 0, 1, 2, 3: self.receive()
        case 4 where self.byte() & 1 == 1: self.receiveKeyMessage()
        case 4 where !self.isExit && self.machine.hasRoomForStream:
            self.opened += 1
            let request = StreamRequest(destination: "x", port: 1)
            self.machine.open(StreamID(rawValue: self.opened), request, at: self.now)
        case 5:
            let count = min(Int(self.byte()) * 64, self.credit[id] ?? 0)
            self.credit[id]? -= count
            if count > 0 { self.machine.send(id, ByteBuffer(repeating: 1, count: count), at: self.now) }
        case 6: self.machine.finish(id, at: self.now)
        case 7: self.machine.reset(id, .connectionReset, at: self.now)
        case 8:
            let count = min(Int(self.byte()) * 16, self.handed[id] ?? 0)
            self.handed[id]? -= count
            self.machine.consumed(id, count, at: self.now)
        case 9: self.machine.removePath(PathID(rawValue: Int(self.byte() & 1)), at: self.now)
        case 10:
            let path = PathDescription(
                relay: "ws://x",
                maximumPlaintext: 40_960,
                largestPlaintext: 65_535,
                createdAtUpperLimit: nil
            )
            self.machine.addPath(PathID(rawValue: Int(self.byte() & 3)), path, at: self.now)
        case 11:
            guard let (token, path) = self.tokens.popLast() else { break }
            let outcomes: [PublishOutcome] = [
                .accepted(path), .rejected(.rateLimited), .rejected(.refused),
                .rejected(.noSubscriber), .rejected(.unreachable), .lost,
            ]
            self.machine.published(token, outcomes[Int(self.byte()) % outcomes.count], at: self.now)
        case 12:
            self.nanoseconds += UInt64(self.byte()) * 20_000_000
            self.machine.timeout(at: self.now)
        case 13:
            let path = PathID(rawValue: Int(self.byte() & 1))
            self.machine.setWritable(path, self.byte() & 1 == 1, at: self.now)
        case 14 where self.isExit: self.machine.connected(id, at: self.now)
        case 15 where id.rawValue & 1 == 0: self.prepareKey()
        case 15:
            let offer = SessionPathOffer(path: PathID(rawValue: 2), relay: "ws://x")
            self.machine.offerPath(offer, at: self.now)
        default: break
        }
    }

    /// Receives a packet with any frames.
    ///
    /// One byte of input selects the path, the key, the distance to the previous packet number, and whether a relay
    /// copied the packet to another path or reflected it to its sender.
    private mutating func receive() {
        let how = self.byte()
        let path = PathID(rawValue: Int(how & 1))
        let generations = self.keys.paired.sorted()
        let generation = generations[Int(how >> 1 & 3) % generations.count]
        let steps: [UInt64] = [0, 1, 63, 16_383, 1 << 30 - 1, 1 << 61, 0, 0]
        let step = Int(how >> 3 & 7)
        if step == 7 { self.number = UInt64(self.byte()) }
        self.number = (self.number + steps[step]) & (1 << 62 - 1)
        let isReflected = how & 0x80 != 0
        var packet = ByteBuffer(bytes: [self.isExit != isReflected ? 0x10 : 0x11, how & 1 ^ how >> 6 & 1])
        packet.writeEncodedInteger(self.number, strategy: .quic)
        if step != 6 { self.number += 1 }
        packet.writeBytes(self.take(Int(self.byte())))
        self.given += packet.readableBytes
        self.machine.receive(
            packet,
            createdAt: 0,
            generation: generation,
            path: path,
            at: self.now
        )
    }

    private mutating func prepareKey() {
        guard let generation = self.keys.wanted else { return }
        self.keys.wanted = nil
        self.keys.prepared.insert(generation)
        self.machine.keyPrepared(Self.message(generation, isFromExit: self.isExit, first: 1), at: self.now)
    }

    /// - Parameter first: The first byte of the key.
    private static func message(_ generation: Int, isFromExit: Bool, first: UInt8) -> KeyUpdate {
        let content: KeyUpdate.Content =
            isFromExit
            ? .exit(
                ciphertext: [UInt8](repeating: 1, count: KeyEncapsulation.ciphertextLength),
                SchnorrSignature(r: .zero, s: .zero)
            ) : .client(encapsulationKey: [UInt8](repeating: 1, count: KeyEncapsulation.keyLength))
        let key = Bytes32([first] + [UInt8](repeating: 0, count: 31)) ?? .zero
        return KeyUpdate(generation: generation, key: PublicKey(unchecked: key), content: content)
    }

    /// Receives a whole message of the peer about keys, as one CRYPTO frame.
    private mutating func receiveKeyMessage() {
        let how = self.byte()
        let generation = self.keys.sealing + Int(how & 3)
        let message = Self.message(generation, isFromExit: !self.isExit, first: how & 4 == 0 ? 1 : Self.notOnCurve)
        let bytes = ByteBuffer(bytes: message.encoded)
        var packet = ByteBuffer(bytes: [self.isExit ? 0x10 : 0x11, 0])
        packet.writeEncodedInteger(self.number, strategy: .quic)
        self.number = (self.number + 1) & (1 << 62 - 1)
        SessionFrame.crypto(offset: self.cryptoOffset, data: bytes).encode(into: &packet)
        self.cryptoOffset += UInt64(bytes.readableBytes)
        self.given += packet.readableBytes
        self.machine.receive(
            packet,
            createdAt: 0,
            generation: self.keys.sealing,
            path: PathID(rawValue: 0),
            at: self.now
        )
    }

    private mutating func obey(_ action: StreamAction<SessionSignal>) {
        if self.isClosed {
            switch action {
            // A stream that was opened after the end of the session.
            case .ended: return
            case .report, .signal(.eraseKey): return
            default: preconditionFailure("action after the end of the session: \(action)")
            }
        }
        switch action {
        case .publish(let token, let plaintext, _, let paths, _, _):
            precondition(plaintext.readableBytes <= SessionConfiguration.largestPacket)
            guard let path = paths.first else { preconditionFailure("publish without a path") }
            self.tokens.append((token, path))
            if self.tokens.count > 64 { self.tokens.removeFirst() }
        case .credit(let id, let bytes): self.credit[id, default: 0] += bytes
        case .data(let id, let data): self.handed[id, default: 0] += data.readableBytes
        case .incoming(let id, let request):
            if request.port == Self.refusedPort { self.machine.reset(id, .connectionReset, at: self.now) }
        case .signal(let signal): self.obey(signal)
        default: break
        }
    }

    /// The driver rejects streams to this port immediately.
    private static let refusedPort: UInt16 = 7
    /// The driver treats keys with this first byte as invalid, as if they were not on the curve.
    private static let notOnCurve: UInt8 = 0xff

    /// Adds the peer's key, or closes the session if it is invalid.
    private mutating func pair(_ message: KeyUpdate) -> Bool {
        precondition(self.keys.paired == [self.keys.sealing], "an old key is still in use")
        guard message.key.bytes.bytes.first != Self.notOnCurve else {
            self.machine.close(.protocolViolation, at: self.now)
            return false
        }
        self.keys.paired.insert(message.generation)
        return true
    }

    private mutating func obey(_ signal: SessionSignal) {
        switch signal {
        case .makeKey(let generation):
            precondition(
                self.keys.wanted == nil && generation == self.keys.sealing + 1,
                "requested another new key too early"
            )
            self.keys.wanted = generation
            if self.preparesKeysImmediately { self.prepareKey() }
        case .answerKey(let message):
            precondition(self.keys.wanted == nil && message.generation == self.keys.sealing + 1)
            if self.pair(message) {
                self.keys.wanted = message.generation
                if self.preparesKeysImmediately { self.prepareKey() }
            }
        case .completeKey(let message):
            precondition(self.keys.prepared.contains(message.generation), "completed a key that was not requested")
            _ = self.pair(message)
        case .sealUnder(let generation):
            // The session was closed because of an invalid key; this action was queued before that.
            guard !self.machine.isOver else { return }
            precondition(generation == self.keys.sealing + 1 && self.keys.paired.contains(generation))
            precondition(self.keys.prepared.contains(generation), "sealing with a key that was not prepared")
            self.keys.sealing = generation
        case .eraseKey(let generation):
            precondition(generation == self.keys.sealing - 1)
            let known = self.keys.paired.remove(generation)
            precondition(known != nil, "erased an unknown key")
        case .closed: self.isClosed = true
        default: break
        }
    }
}
