//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TestSupport

/// One direction of the TCP connection between a node and a relay: it delivers in order, and a lost segment delays
/// what follows it until it was sent again.
struct SimulatedLink {
    /// Bandwidth in bytes per second. Nil for no limit.
    var bytesPerSecond: Double?
    /// Time from one end to the other.
    var delay: TimeAmount
    /// Probability that a segment is lost.
    var loss = 0.0
    /// Bytes that wait to be sent before the node's socket is no longer writable.
    var sendBuffer = 192 << 10
    /// Whether TCP starts slowly, also after a pause: its window doubles each round trip.
    var startsSlowly = false

    private static let segment = 1_460
    private static let initialWindow = 10.0 * 1_460
    /// The pause after which TCP starts slowly again.
    private static let longestPause: TimeAmount = .seconds(1)
    private var window = Self.initialWindow
    private var freeAt = NIODeadline.uptimeNanoseconds(0)
    private var lastArrival = NIODeadline.uptimeNanoseconds(0)

    init(bytesPerSecond: Double?, delay: TimeAmount, loss: Double = 0) {
        self.bytesPerSecond = bytesPerSecond
        self.delay = delay
        self.loss = loss
    }

    /// Sends bytes. Returns when the last of them arrives.
    mutating func transmit(_ bytes: Int, at now: NIODeadline, using generator: inout SeededGenerator) -> NIODeadline {
        if self.freeAt + Self.longestPause < now { self.window = Self.initialWindow }
        self.freeAt = max(self.freeAt, now)
        if let rate {
            self.freeAt = self.freeAt + .nanoseconds(Int64(Double(bytes) * 1e9 / rate))
            self.window += Double(bytes)
        }
        var arrival = self.freeAt + self.delay
        if self.loss > 0 {
            let isLost = (0...(bytes / Self.segment)).contains { _ in
                Double.random(in: 0..<1, using: &generator) < self.loss
            }
            if isLost { arrival = arrival + .nanoseconds(2 * self.delay.nanoseconds) }
        }
        self.lastArrival = max(self.lastArrival, arrival)
        return self.lastArrival
    }

    /// What the link carries now, in bytes per second.
    private var rate: Double? {
        guard let bytesPerSecond, self.startsSlowly else { return self.bytesPerSecond }
        return min(bytesPerSecond, self.window * 1e9 / Double(max(1, 2 * self.delay.nanoseconds)))
    }

    /// When the socket is writable again; nil if it is writable.
    func writableAt(_ now: NIODeadline) -> NIODeadline? {
        guard let rate else { return nil }
        let backlog = Double((self.freeAt - now).nanoseconds) * rate / 1e9
        guard backlog > Double(self.sendBuffer) else { return nil }
        return self.freeAt - .nanoseconds(Int64(Double(self.sendBuffer / 2) * 1e9 / rate))
    }
}

/// The links of both ends to a relay.
struct SimulatedLinks {
    /// The links to the relay and from it, for the client (index 0) and the exit (index 1).
    var up: [SimulatedLink]
    var down: [SimulatedLink]

    /// Links that are the same in both directions.
    init(client: SimulatedLink, exit: SimulatedLink) {
        self.up = [client, exit]
        self.down = [client, exit]
    }

    /// Length in bytes of the EVENT message for a packet: base64, padding, and what each event needs in addition.
    static func eventLength(_ plaintext: Int) -> Int { (plaintext + 99) * 4 / 3 + 450 }
}
