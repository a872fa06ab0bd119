//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HeapModule
import NIOCore
import Nostr
import NostrCrypto
import TestSupport

@testable import TunnelProtocol

/// Simulates both ends of a session and the relays between them, on a virtual clock.
///
/// The same seed gives the same run.
final class SimulatedSession {
    /// The behaviour of a relay.
    struct Weather {
        /// Probability that an event is accepted but never delivered.
        var loss = 0.0
        /// Probability that an event is delivered twice.
        var duplication = 0.0
        /// Time from publishing to delivery; the OK answer takes half of it.
        var delay: TimeAmount = .milliseconds(1)
        /// Maximum additional random delay, which reorders events.
        var jitter: TimeAmount = .zero
        /// Whether events are delivered in batches every 100 ms, sorted by date and then at random, as strfry does.
        var batches = false
        /// Events per second that are accepted from each end; more are rejected with rate-limited.
        var eventsPerSecond: Int?
        /// Bandwidth in bytes per second, for each direction.
        var bytesPerSecond: Int?
        /// The links to the relay, whose delays and rates come in addition to those above.
        var links: SimulatedLinks?
        /// Largest packet that is accepted, in bytes, and whether larger ones are rejected or silently dropped.
        var largestPacket: (size: Int, refuses: Bool)?
        /// Probability that an event is delivered again, 0.1 to 20 s later, to a random end.
        var replay = 0.0
    }

    /// One end's view of a stream.
    struct Observed {
        var opened = false
        var data: [UInt8] = []
        var credit = 0
        var toSend: [UInt8] = []
        var sent = 0
        var finishesAfterSending = true
        var isFinishedSending = false
        var resetsAfter: Int?
        /// Whether what was sent before the reset is delivered.
        var resetsAfterDelivery = false
        var finished = false
        var ended: StreamEnd??
        /// Bytes delivered to the reader that it has not consumed.
        var unread = 0
        var readsSlowly = false
    }

    private struct Relay {
        var weather: Weather
        /// Whether the relay accepts events but delivers none.
        var isFrozen = false
        var isUp: [Bool] = [true, true]
        var taken: [[UInt64: Int]] = [[:], [:]]
        var busyUntil: [NIODeadline] = [.uptimeNanoseconds(0), .uptimeNanoseconds(0)]
    }

    private struct Happening: Comparable {
        enum What {
            case deliver(to: Int, PathID, plaintext: ByteBuffer, generation: Int)
            case outcome(to: Int, MessageToken, PublishOutcome)
            case datagram(to: Int, DatagramSealer.Opened)
            case call(() -> Void)
        }
        let at: NIODeadline
        let order: (Int64, UInt64)
        let what: What

        static func < (left: Self, right: Self) -> Bool {
            left.at != right.at ? left.at < right.at : left.order < right.order
        }
        static func == (left: Self, right: Self) -> Bool { left.at == right.at && left.order == right.order }
    }

    /// The client (index 0) and the exit (index 1); other arrays of two use the same order.
    var ends: [SessionStateMachine]
    var streams: [[StreamID: Observed]] = [[:], [:]]
    var reports: [ProtocolReport: Int] = [:]
    var signals: [[SessionSignal]] = [[], []]
    /// All packets in the order in which they were published.
    var published: [(by: Int, path: PathID, size: Int, at: NIODeadline)] = []
    var recorded: [(by: Int, path: PathID, plaintext: ByteBuffer)] = []
    var recordsPackets = false
    var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private var relays: [Relay]
    var direct = DirectNetwork()
    /// Real direct paths over NATs, in place of ``direct``.
    var directNetwork: SimulatedDirectNetwork?
    private var directBusyUntil: [NIODeadline] = [.uptimeNanoseconds(0), .uptimeNanoseconds(0)]
    var generator: SeededGenerator
    private var happenings = Heap<Happening>()
    var counter: UInt64 = 0
    var sealing = [0, 0]
    var opening: [Set<Int>] = [[0], [0]]
    /// Called for each stream at the exit; returns the bytes that the target sends, or why connecting to it fails.
    var dial: (StreamID, StreamRequest) -> Result<[UInt8], SimulatedRefusal> = { _, _ in .success([]) }

    /// Streams that the exit does not finish when it has sent its bytes.
    var staysOpen: Set<StreamID> = []

    struct SimulatedRefusal: Error { let end: StreamEnd }

    init(seed: UInt64, weather: [Weather], configuration: SessionConfiguration = SessionConfiguration()) {
        self.generator = SeededGenerator(seed: seed)
        self.relays = weather.map { Relay(weather: $0) }
        let parameters = SessionParameters(configuration)
        let moment = Moment(monotonic: .uptimeNanoseconds(1_000_000_000), seconds: 1_800_000_000)
        self.ends = [.client, .exit].map {
            SessionStateMachine(
                role: $0,
                configuration: configuration,
                peer: parameters,
                identity: $0 == .client ? Self.identity : nil,
                now: moment
            )
        }
        for path in weather.indices {
            for end in 0...1 { self.connect(end, PathID(rawValue: path)) }
        }
        self.settle()
    }

    /// An identity with a made-up signature, which the state machine does not verify.
    static let identity = ClientIdentity(
        generation: 0,
        publicKey: PublicKey(unchecked: Bytes32.sha256(of: [7])),
        signature: SchnorrSignature(r: Bytes32.sha256(of: [8]), s: Bytes32.sha256(of: [9]))
    )
    /// Number of times that the client's identity was reported.
    var identifications = 0
    /// Number of streams that were requested before the client's identity was reported.
    var unidentified = 0

    var moment: Moment {
        Moment(monotonic: self.now, seconds: 1_800_000_000 + Int64(self.now.uptimeNanoseconds / 1_000_000_000))
    }

    func random(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self.generator) }

    func chance(_ probability: Double) -> Bool {
        probability > 0 && Double.random(in: 0..<1, using: &self.generator) < probability
    }

    // MARK: Relays

    func connect(_ end: Int, _ path: PathID) {
        self.ends[end].addPath(
            path,
            PathDescription(
                relay: "ws://\(path.rawValue)",
                maximumPlaintext: 40_960,
                largestPlaintext: 65_535,
                createdAtUpperLimit: nil
            ),
            at: self.moment
        )
    }

    /// Disconnects one end from a relay, or connects it again.
    func setUp(_ isUp: Bool, end: Int, path: Int) {
        guard self.relays[path].isUp[end] != isUp else { return }
        self.relays[path].isUp[end] = isUp
        if isUp {
            self.connect(end, PathID(rawValue: path))
        } else {
            self.ends[end].removePath(PathID(rawValue: path), at: self.moment)
        }
        self.settle()
    }

    // MARK: Direct path

    /// The network of the direct path.
    struct DirectNetwork {
        var delay: TimeAmount = .milliseconds(10)
        var jitter: TimeAmount = .zero
        /// Probability that a datagram is lost.
        var loss = 0.0
        /// Whether no datagram arrives.
        var isCut = false
        /// Bandwidth in bytes per second, for each direction.
        var bytesPerSecond: Int64 = 1_000_000
    }

    /// Adds the direct path at both ends.
    func connectDirectly() {
        for end in 0...1 {
            let path = PathDescription.direct(
                packet: DirectPath.basePacket,
                largest: DirectPath.largestPacket,
                skippedNumbers: .sha256(of: [UInt8(end)])
            )
            self.ends[end].addPath(.direct, path, at: self.moment)
        }
        self.settle()
    }

    private func sendDirectly(_ token: MessageToken, _ packet: ByteBuffer, by end: Int) {
        let sent = max(self.directBusyUntil[end], self.now)
        let done = sent + .nanoseconds(Int64(packet.readableBytes) * 1_000_000_000 / self.direct.bytesPerSecond)
        // A router with a queue of 100 ms.
        guard !self.direct.isCut, !self.chance(self.direct.loss), done < self.now + .milliseconds(100) else { return }
        self.directBusyUntil[end] = done
        let opened = DatagramSealer.Opened(
            space: .packets,
            number: token.number,
            generation: self.sealing[end],
            plaintext: packet
        )
        let jitter = Int64.random(in: 0...self.direct.jitter.nanoseconds, using: &self.generator)
        let arrival = done + self.direct.delay + .nanoseconds(jitter)
        self.schedule(arrival, (0, self.nextCount()), .datagram(to: 1 - end, opened))
    }

    func setFrozen(_ isFrozen: Bool, path: Int) { self.relays[path].isFrozen = isFrozen }

    func setWeather(_ weather: Weather, path: Int) { self.relays[path].weather = weather }

    func after(_ amount: TimeAmount, _ call: @escaping () -> Void) {
        self.schedule(self.now + amount, (0, self.nextCount()), .call(call))
    }

    func nextCount() -> UInt64 {
        self.counter += 1
        return self.counter
    }

    private func schedule(_ at: NIODeadline, _ order: (Int64, UInt64), _ what: Happening.What) {
        self.happenings.insert(Happening(at: at, order: order, what: what))
    }

    func publish(_ token: MessageToken, _ plaintext: ByteBuffer, _ createdAt: Int64, _ path: PathID, by end: Int) {
        self.published.append((end, path, plaintext.readableBytes, self.now))
        if self.recordsPackets { self.recorded.append((end, path, plaintext)) }
        if path == .direct, let directNetwork { return directNetwork.send(plaintext, number: token.number, by: end) }
        if path == .direct { return self.sendDirectly(token, plaintext, by: end) }
        var relay = self.relays[path.rawValue]
        let weather = relay.weather
        guard relay.isUp[end] else {
            self.schedule(self.now, (0, self.nextCount()), .outcome(to: end, token, .lost))
            return
        }
        var outcome = PublishOutcome.accepted(path)
        if let limit = weather.eventsPerSecond {
            let second = self.now.uptimeNanoseconds / 1_000_000_000
            relay.taken[end] = relay.taken[end].filter { $0.key == second }
            if relay.taken[end][second, default: 0] >= limit {
                outcome = .rejected(.rateLimited)
            } else {
                relay.taken[end][second, default: 0] += 1
            }
        }
        let isTooLarge = weather.largestPacket.map { plaintext.readableBytes > $0.size } ?? false
        if isTooLarge, weather.largestPacket?.refuses == true { outcome = .rejected(.refused) }
        self.relays[path.rawValue] = relay
        var atRelay = self.now + .nanoseconds(weather.delay.nanoseconds / 2)
        var arrival = self.now + weather.delay
        let length = SimulatedLinks.eventLength(plaintext.readableBytes)
        if var links = weather.links {
            atRelay = links.up[end].transmit(length, at: self.now, using: &self.generator)
            arrival = links.down[1 - end].transmit(length, at: atRelay, using: &self.generator)
            self.relays[path.rawValue].weather.links = links
            self.updateWritability(of: path, at: end)
        }
        let answerAt = atRelay + (weather.links?.down[end].delay ?? .zero)
        self.schedule(answerAt, (0, self.nextCount()), .outcome(to: end, token, outcome))
        guard case .accepted = outcome, !relay.isFrozen, !isTooLarge, !self.chance(weather.loss) else {
            return
        }
        let copies = self.chance(weather.duplication) ? 2 : 1
        for _ in 0..<copies { self.deliver(plaintext, createdAt, path, weather, at: arrival, by: end) }
        if self.chance(weather.replay) {
            self.schedule(
                self.now + .milliseconds(Int64(self.random(100...20_000))),
                (0, self.nextCount()),
                .deliver(to: self.random(0...1), path, plaintext: plaintext, generation: self.sealing[end])
            )
        }
    }

    /// Reports that the socket to a relay is not writable while much waits to be sent.
    private func updateWritability(of path: PathID, at end: Int) {
        guard let at = self.relays[path.rawValue].weather.links?.up[end].writableAt(self.now) else { return }
        self.ends[end].setWritable(path, false, at: self.moment)
        self.schedule(
            at,
            (0, self.nextCount()),
            .call { [unowned self] in
                if self.relays[path.rawValue].weather.links?.up[end].writableAt(self.now) == nil {
                    self.ends[end].setWritable(path, true, at: self.moment)
                }
            }
        )
    }

    func deliver(
        _ plaintext: ByteBuffer,
        _ createdAt: Int64,
        _ path: PathID,
        _ weather: Weather,
        at arrival: NIODeadline,
        by end: Int
    ) {
        var at = arrival
        if let rate = weather.bytesPerSecond {
            let start = max(self.relays[path.rawValue].busyUntil[end], self.now)
            let done = start + .nanoseconds(Int64(plaintext.readableBytes) * 1_000_000_000 / Int64(rate))
            self.relays[path.rawValue].busyUntil[end] = done
            at = done + weather.delay
        }
        if weather.jitter > .zero {
            at = at + .nanoseconds(Int64.random(in: 0...weather.jitter.nanoseconds, using: &self.generator))
        }
        var order = (Int64(0), self.nextCount())
        if weather.batches {
            let batch: UInt64 = 100_000_000
            at = .uptimeNanoseconds((at.uptimeNanoseconds / batch + 1) * batch)
            order = (createdAt, self.generator.next())
        }
        self.schedule(
            at,
            order,
            .deliver(to: 1 - end, path, plaintext: plaintext, generation: self.sealing[end])
        )
    }

    // MARK: Time

    /// Advances the clock by `amount`, or until `isDone` returns true.
    ///
    /// - Returns: Whether `isDone` returned true.
    @discardableResult
    func run(for amount: TimeAmount, until isDone: () -> Bool = { false }) -> Bool {
        let end = self.now + amount
        self.settle()
        while !isDone() {
            var next = end
            if let first = self.happenings.min { next = min(next, first.at) }
            for machine in self.ends {
                if let deadline = machine.nextDeadline { next = min(next, deadline) }
            }
            if let deadline = self.directNetwork?.nextDeadline { next = min(next, deadline) }
            self.now = max(self.now, next)
            while let first = self.happenings.min, first.at <= self.now {
                self.happenings.removeMin()
                self.happen(first.what)
                self.settle()
            }
            for index in 0...1 where self.ends[index].nextDeadline.map({ $0 <= self.now }) == true {
                self.ends[index].timeout(at: self.moment)
            }
            self.directNetwork?.timeout()
            self.settle()
            if self.now >= end { return isDone() }
        }
        return true
    }

    private func happen(_ what: Happening.What) {
        switch what {
        case .deliver(let end, let path, let plaintext, let generation):
            self.inject(plaintext, path: path, to: end, generation: generation)
        case .outcome(let end, let token, let outcome):
            self.ends[end].published(token, outcome, at: self.moment)
        case .datagram(let end, let datagram): self.ends[end].receive([datagram], at: self.moment)
        case .call(let call):
            call()
        }
    }

    /// Delivers a packet to one end, if that end is connected to the relay and has the keys of `generation`.
    func inject(_ plaintext: ByteBuffer, path: PathID, to end: Int, generation: Int = 0) {
        guard self.relays[path.rawValue].isUp[end], self.opening[end].contains(generation) else { return }
        self.ends[end].receive(
            plaintext,
            createdAt: self.moment.seconds,
            generation: generation,
            path: path,
            at: self.moment
        )
    }
}
