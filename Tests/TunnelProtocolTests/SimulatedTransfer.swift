//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TestSupport

@testable import TunnelProtocol

/// A bulk transfer over simulated links, with small messages on another stream beside it.
struct SimulatedTransfer {
    /// Links of a home: 100 Mbit/s and 30 ms to the relay, for both ends.
    static let home = Self.links(megabits: 100, milliseconds: 30)

    /// The same link for both ends.
    static func links(megabits: Double?, milliseconds: Int64, loss: Double = 0) -> SimulatedLinks {
        let link = SimulatedLink(
            bytesPerSecond: megabits.map { $0 * 125_000 },
            delay: .milliseconds(milliseconds),
            loss: loss
        )
        return SimulatedLinks(client: link, exit: link)
    }

    /// Bytes per second of the bulk transfer. Nil if it was not complete and correct.
    var rate: Double?
    /// The times that the small messages took, in ascending order.
    var delays: [TimeAmount] = []
    /// Bytes that the exit published in excess of the transfer, as a share of it.
    var overhead = 0.0
    /// The share of the exit's bytes on each path.
    var shares: [Double] = []

    var medianDelay: Double { self.delay(0.5) }

    /// A quantile of the delays, in milliseconds.
    func delay(_ quantile: Double) -> Double {
        guard !self.delays.isEmpty else { return .infinity }
        let index = min(self.delays.count - 1, Int(Double(self.delays.count) * quantile))
        return Double(self.delays[index].nanoseconds) / 1e6
    }

    /// Downloads `bytes` bytes from the exit over a path for each of `links`, while the exit sends a message of 64 bytes
    /// every 50 ms.
    ///
    /// - Parameter change: Called before the transfer.
    init(
        _ bytes: Int,
        over links: [SimulatedLinks],
        seed: UInt64 = 1,
        _ change: (SimulatedSession) -> Void = { _ in }
    ) {
        let weather = links.map {
            var weather = SimulatedSession.Weather()
            weather.links = $0
            return weather
        }
        let session = SimulatedSession(seed: seed, weather: weather)
        let down = patterned(bytes, seed: seed)
        session.dial = { id, _ in .success(id.rawValue == 1 ? down : []) }
        let messages = StreamID(rawValue: 2)
        session.staysOpen = [messages]
        change(session)
        // The paths are known before the transfer starts, as in a session that was used before.
        session.run(for: .seconds(2))
        let start = session.now
        let bulk = session.open(1)
        _ = session.open(2) { $0.finishesAfterSending = false }
        session.run(for: .seconds(5)) { session.streams[1][messages] != nil }
        var sent: [NIODeadline] = []
        var arrived = 0
        func isOver() -> Bool { session.streams[0][bulk]?.data.count == bytes }
        while !isOver(), session.now - start < .seconds(600) {
            sent.append(session.now)
            session.streams[1][messages]?.toSend += [UInt8](repeating: 7, count: 64)
            session.write(messages, 1)
            let next = session.now + .milliseconds(50)
            while session.now < next, !isOver() {
                let known = session.streams[0][messages]?.data.count ?? 0
                session.run(for: next - session.now) {
                    session.streams[0][messages]?.data.count != known || isOver()
                }
                let count = (session.streams[0][messages]?.data.count ?? 0) / 64
                while arrived < count {
                    self.delays.append(session.now - sent[arrived])
                    arrived += 1
                }
            }
        }
        let seconds = Double((session.now - start).nanoseconds) / 1e9
        if session.streams[0][bulk]?.data == down { self.rate = Double(bytes) / seconds }
        self.delays.sort()
        let published = session.published.filter { $0.by == 1 }.map(\.size).reduce(0, +)
        self.shares = links.indices.map { path in
            let bytes = session.published.filter { $0.by == 1 && $0.path.rawValue == path }.map(\.size).reduce(0, +)
            return Double(bytes) / Double(max(1, published))
        }
        self.overhead = Double(published) / Double(bytes) - 1
    }
}
