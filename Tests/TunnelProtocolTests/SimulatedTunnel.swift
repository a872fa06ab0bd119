//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto
import TestSupport
import TunnelProtocol

/// An entry's and an exit's engine with a relay between them, on a clock of its own.
struct SimulatedTunnel {
    /// How the relay delivers events.
    enum Relay {
        /// At once and in order.
        case immediate
        /// In batches every 100 ms, sorted by date and then at random, like sorting by id.
        case batching
    }

    /// The state of a stream, as the driver of one end sees it.
    struct Observed {
        var opened = false
        var data: [UInt8] = []
        var credit = 0
        var finished = false
        var ended: StreamEnd??
        var request: StreamRequest?
    }

    struct Flight {
        let toExit: Bool
        let plaintext: ByteBuffer
        let createdAt: Int64
        let tie: UInt64
        let arrival: NIODeadline
    }

    static let path = PathID(rawValue: 0)

    var entry: NIP74StateMachine
    var exit: NIP74StateMachine
    var entryStreams: [StreamID: Observed] = [:]
    var exitStreams: [StreamID: Observed] = [:]
    var reverseRequests: [ReverseRequest] = []
    var reports: [ProtocolReport] = []
    /// How often the entry reported that the exit sent plain data.
    var exitSentData = 0
    /// Session offers that the exit has reported, in order.
    var offers: [SessionOffer] = []
    var outdatedOffers: [SessionOffer] = []
    /// Plaintexts in the order in which they were published.
    var published: [(byEntry: Bool, plaintext: ByteBuffer, createdAt: Int64, at: NIODeadline)] = []
    /// Called for each published message; returns the relay's answer. The default accepts all messages.
    var verdict: (_ byEntry: Bool, _ plaintext: ByteBuffer) -> PublishOutcome = { _, _ in .accepted(Self.path) }
    /// Called for each stream at the exit; returns why connecting to the target fails, or nil if it succeeds.
    var dial: (StreamRequest) -> StreamEnd? = { _ in nil }
    /// Whether the relay accepts messages but delivers none.
    var dropsMessages = false
    /// Whether readers consume the data that they get.
    var readersConsume = true

    private(set) var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private let relay: Relay
    private var generator: SeededGenerator
    private var flights: [Flight] = []

    init(
        relay: Relay = .immediate,
        seed: UInt64 = 1,
        configuration: NIP74Configuration = NIP74Configuration(),
        createdAtUpperLimit: Int? = 900
    ) {
        self.relay = relay
        self.generator = SeededGenerator(seed: seed)
        let description = PathDescription(
            relay: "ws://relay.example",
            maximumPlaintext: NIP74Configuration.maximumPlaintext,
            createdAtUpperLimit: createdAtUpperLimit
        )
        self.entry = NIP74StateMachine(
            role: .entry(name: "x.nostr"),
            configuration: configuration,
            generator: SeededGenerator(seed: seed &+ 1)
        )
        self.exit = NIP74StateMachine(
            role: .exit(client: PublicKey(unchecked: .zero)),
            configuration: configuration,
            generator: SeededGenerator(seed: seed &+ 2)
        )
        self.entry.addPath(Self.path, description, at: self.moment)
        self.exit.addPath(Self.path, description, at: self.moment)
    }

    var moment: Moment {
        Moment(monotonic: self.now, seconds: 1_800_000_000 + Int64(self.now.uptimeNanoseconds / 1_000_000_000))
    }

    // MARK: Driving

    /// Opens a stream without an offer.
    mutating func open(_ raw: UInt64) -> StreamID {
        let id = StreamID(rawValue: raw)
        self.entryStreams[id] = Observed()
        self.entry.open(id, Self.request, paths: [Self.path], at: self.moment)
        self.settle()
        return id
    }

    static let request = StreamRequest(destination: "x.nostr", port: 80)

    /// An offer that the exit understands.
    static let versionedOffer = VersionedOffer(
        nonce: [UInt8](repeating: 7, count: VersionedOffer.nonceLength),
        bodies: [
            VersionedOffer.Body(
                version: 1,
                bytes: OfferTerms(
                    parameters: SessionParameters(SessionConfiguration()),
                    purpose: .session(encapsulationKey: [UInt8](repeating: 1, count: KeyEncapsulation.keyLength))
                ).encoded
            )
        ]
    )

    /// Opens a stream and offers a session with it.
    mutating func offer(_ raw: UInt64, mayFallBack: Bool = true) -> StreamID {
        let id = StreamID(rawValue: raw)
        self.entryStreams[id] = Observed()
        self.entry.open(
            id,
            offering: OutgoingOffer(key: "offer-\(raw)", offer: Self.versionedOffer, mayFallBack: mayFallBack),
            paths: [Self.path],
            at: self.moment
        )
        self.settle()
        return id
    }

    /// Delivers a plaintext to the exit as if the entry had sent it.
    mutating func injectText(_ text: String) {
        self.exit.receive(
            Array(text.utf8),
            createdAt: self.moment.seconds,
            generation: 0,
            path: Self.path,
            at: self.moment
        )
        self.settle()
    }

    /// Delivers a message to the entry or the exit as if the other side had sent it.
    mutating func inject(_ message: NIP74Message, toExit: Bool) {
        if toExit {
            self.exit.receive(
                message.encoded(),
                createdAt: self.moment.seconds,
                generation: 0,
                path: Self.path,
                at: self.moment
            )
        } else {
            self.entry.receive(
                message.encoded(),
                createdAt: self.moment.seconds,
                generation: 0,
                path: Self.path,
                at: self.moment
            )
        }
        self.settle()
    }

    /// Performs actions until there is nothing left to do at this time.
    mutating func settle() {
        var isBusy = true
        while isBusy {
            isBusy = false
            while let action = self.entry.nextAction() {
                isBusy = true
                self.perform(action, byEntry: true)
            }
            while let action = self.exit.nextAction() {
                isBusy = true
                self.perform(action, byEntry: false)
            }
            if case .immediate = self.relay, !self.flights.isEmpty {
                isBusy = true
                self.deliver(self.flights.removeFirst())
            }
        }
    }

    /// Advances the clock by `amount`.
    mutating func advance(_ amount: TimeAmount) {
        let end = self.now + amount
        self.settle()
        while true {
            var next = end
            if let flight = self.flights.map(\.arrival).min() { next = min(next, flight) }
            if let deadline = self.entry.nextDeadline { next = min(next, deadline) }
            if let deadline = self.exit.nextDeadline { next = min(next, deadline) }
            self.now = max(self.now, next)
            let due = self.flights.filter { $0.arrival <= self.now }.sorted {
                ($0.createdAt, $0.tie) < ($1.createdAt, $1.tie)
            }
            self.flights.removeAll { $0.arrival <= self.now }
            for flight in due { self.deliver(flight) }
            self.entry.timeout(at: self.moment)
            self.exit.timeout(at: self.moment)
            self.settle()
            if self.now >= end { return }
        }
    }

    private mutating func deliver(_ flight: Flight) {
        if flight.toExit {
            self.exit.receive(
                flight.plaintext,
                createdAt: flight.createdAt,
                generation: 0,
                path: Self.path,
                at: self.moment
            )
        } else {
            self.entry.receive(
                flight.plaintext,
                createdAt: flight.createdAt,
                generation: 0,
                path: Self.path,
                at: self.moment
            )
        }
    }

    private mutating func perform(_ action: StreamAction<NIP74Signal>, byEntry: Bool) {
        switch action {
        case .publish(let token, let plaintext, let createdAt, _, _, _):
            self.published.append((byEntry, plaintext, createdAt, self.now))
            let outcome = self.verdict(byEntry, plaintext)
            if case .accepted = outcome, !self.dropsMessages {
                let batch: UInt64 = 100_000_000
                let arrival: NIODeadline =
                    switch self.relay {
                    case .immediate: self.now
                    case .batching:
                        .uptimeNanoseconds((self.now.uptimeNanoseconds / batch + 1) * batch)
                    }
                self.flights.append(
                    Flight(
                        toExit: byEntry,
                        plaintext: plaintext,
                        createdAt: createdAt,
                        tie: self.generator.next(),
                        arrival: arrival
                    )
                )
            }
            if byEntry {
                self.entry.published(token, outcome, at: self.moment)
            } else {
                self.exit.published(token, outcome, at: self.moment)
            }
        case .incoming(let id, let request):
            self.exitStreams[id] = Observed(request: request)
            if let failure = self.dial(request) {
                self.exit.reset(id, failure, at: self.moment)
                self.exitStreams[id]?.ended = .some(failure)
            } else {
                self.exit.connected(id, at: self.moment)
            }
        case .opened(let id):
            self.update(id, byEntry) { $0.opened = true }
        case .credit(let id, let bytes):
            self.update(id, byEntry) { $0.credit += bytes }
        case .data(let id, let data):
            self.update(id, byEntry) { $0.data += Array(data.readableBytesView) }
            guard self.readersConsume else { return }
            if byEntry {
                self.entry.consumed(id, data.readableBytes, at: self.moment)
            } else {
                self.exit.consumed(id, data.readableBytes, at: self.moment)
            }
        case .finished(let id):
            self.update(id, byEntry) { $0.finished = true }
        case .ended(let id, let reason):
            self.update(id, byEntry) { $0.ended = .some(reason) }
        case .signal(.reverse(let request)):
            self.reverseRequests.append(request)
        case .signal(.offered(let offer)):
            self.offers.append(offer)
        case .signal(.outdated(let offer)):
            self.outdatedOffers.append(offer)
        case .signal(.exitSentData):
            self.exitSentData += 1
        case .report(let report):
            self.reports.append(report)
        }
    }

    private mutating func update(_ id: StreamID, _ byEntry: Bool, _ change: (inout Observed) -> Void) {
        if byEntry {
            change(&self.entryStreams[id, default: Observed()])
        } else {
            change(&self.exitStreams[id, default: Observed()])
        }
    }

    // MARK: Sending whole bodies

    /// Sends `bytes` as credit allows, advancing the clock as needed, then finishes the stream.
    mutating func sendAll(_ bytes: [UInt8], on id: StreamID, fromEntry: Bool, finish: Bool = true) {
        var index = 0
        var rounds = 0
        while index < bytes.count, rounds < 100_000 {
            rounds += 1
            let credit = (fromEntry ? self.entryStreams[id]?.credit : self.exitStreams[id]?.credit) ?? 0
            if credit <= 0 {
                self.advance(.milliseconds(20))
                continue
            }
            let count = min(credit, bytes.count - index, Int.random(in: 1...65_536, using: &self.generator))
            self.update(id, fromEntry) { $0.credit -= count }
            let part = ByteBuffer(bytes: bytes[index..<(index + count)])
            if fromEntry {
                self.entry.send(id, part, at: self.moment)
            } else {
                self.exit.send(id, part, at: self.moment)
            }
            index += count
            self.settle()
        }
        guard finish else { return }
        if fromEntry { self.entry.finish(id, at: self.moment) } else { self.exit.finish(id, at: self.moment) }
        self.settle()
    }
}

/// Returns `count` pseudo-random bytes, so that tests notice misplaced data.
func patterned(_ count: Int, seed: UInt64) -> [UInt8] {
    var generator = SeededGenerator(seed: seed)
    var output: [UInt8] = []
    output.reserveCapacity(count + 8)
    while output.count < count {
        let word = generator.next()
        for shift in 0..<8 { output.append(UInt8(truncatingIfNeeded: word >> UInt64(shift * 8))) }
    }
    return Array(output.prefix(count))
}
