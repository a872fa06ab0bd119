//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NIOCore
import Nostr
import NostrCrypto

/// Measures the throughput and latency of a relay with events that are signed in advance.
struct RelayBenchmark {
    let name: String
    let port: UInt16
    let isOurs: Bool

    /// Returns `count` WebSocket frames. Each contains an EVENT message with a signed event.
    ///
    /// - Parameter reader: The public key of the recipient in hex.
    func events(_ count: Int, contentLength: Int, to reader: String) throws -> [[UInt8]] {
        let key = SecretKey.generate()
        let tags = [Tag("p", ByteString(reader))]
        return try (0..<count).map { number in
            let text = "\(number)-".padding(toLength: contentLength, withPad: "x", startingAt: 0)
            let event = try Event.signed(
                by: key,
                createdAt: Int64(Date().timeIntervalSince1970),
                kind: .tunnelMessage,
                tags: tags,
                content: ByteBuffer(string: text)
            )
            return RawWebSocket.frame(ClientMessage.encodeEvent(event).readableBytesView)
        }
    }

    /// Returns a connection that is subscribed to the events for `reader`.
    func subscriber(_ reader: String) throws -> RawWebSocket {
        let socket = try RawWebSocket(port: self.port)
        try socket.send(text: "[\"REQ\",\"s\",{\"kinds\":[28333],\"#p\":[\"\(reader)\"],\"limit\":0}]")
        try socket.wait(for: ["[\"EOSE\""])
        return socket
    }

    /// Returns the seconds until every subscriber has received every event of every publisher.
    private func seconds(events: [[[UInt8]]], reader: String, subscribers: Int) throws -> Double {
        let readers = try (0..<subscribers).map { _ in try self.subscriber(reader) }
        let total = events.reduce(0) { $0 + $1.count }
        let publishers = try events.map { _ in try RawWebSocket(port: self.port) }
        let start = nws_bench.seconds()
        let reading = readers.map { socket in
            Worker { try socket.collectEvents(total) }
        }
        let writing = zip(publishers, events).map { socket, frames in
            Worker { for frame in frames { try socket.send(frame) } }
        }
        // Read the OK messages as well; otherwise the relay would have to buffer them.
        let answers = zip(publishers, events).map { socket, frames in
            Worker { for _ in frames { try socket.wait(for: ["[\"OK\""]) } }
        }
        for worker in writing { try worker.value() }
        for worker in answers { try worker.value() }
        for worker in reading { try worker.value() }
        return nws_bench.seconds() - start
    }

    private struct Load {
        let name: String
        let contentLength: Int
        let count: Int
        var publishers = 1
        var subscribers = 1
    }

    /// The number of events and bytes that a relay delivers per second.
    private struct Rate {
        let events: Double
        let bytes: Double
    }

    /// Measures all relays alternately, so that other load on the machine affects them equally.
    ///
    /// If a measurement of another project's relay fails, that relay is not measured again. If one of the nws relay
    /// fails, the error is thrown.
    static func run(_ relays: [RelayBenchmark], readings: Int, report: Report) throws {
        let loads = [
            Load(name: "one to one, 55 KB events", contentLength: 54_700, count: 2_000),
            Load(name: "one to one, small events", contentLength: 100, count: 5_000),
            Load(name: "one to 8, 55 KB events", contentLength: 54_700, count: 500, subscribers: 8),
            Load(name: "8 to one, 55 KB events", contentLength: 54_700, count: 500, publishers: 8),
        ]
        var relays = relays
        for load in loads {
            let rates = try Self.inTurns(&relays, readings) { try $0.rate(of: load) }
            for (relay, rates) in zip(relays, rates) {
                let name = "\(relay.name): \(load.name)"
                report.add("\(name), delivered", "MB/s", rates.map { $0.bytes / 1e6 })
                report.add("\(name), delivered", "events/s", rates.map(\.events))
            }
            guard let ours = zip(relays, rates).first(where: { $0.0.isOurs })?.1 else { continue }
            for (relay, others) in zip(relays, rates) where !relay.isOurs {
                let ratios = zip(ours, others).map { $0.events / $1.events }
                report.add("\(load.name), nws compared to \(relay.name)", "times", ratios)
            }
        }
        for length in [200, 54_700] {
            let name = length < 1_000 ? "a small event" : "an event of 55 KB"
            let waits = try Self.inTurns(&relays, 1) { try $0.latency(contentLength: length) }
            for (relay, waits) in zip(relays, waits) {
                report.add("\(relay.name): \(name), latency", "ms", waits[0])
                report.add(
                    "\(relay.name): \(name), latency, p99",
                    "ms",
                    [Distribution.percentile(99, of: waits[0])]
                )
            }
        }
        // Measure this only for the nws relay, because other relays may allow fewer subscriptions.
        guard let ours = relays.first(where: \.isOurs) else { return }
        try ours.manySubscriptions(readings, report)
    }

    /// Runs `measure` for each relay, and repeats this `readings` times. Returns the values of each relay.
    ///
    /// Relays of other projects are removed from `relays` if they fail.
    private static func inTurns<Value>(
        _ relays: inout [RelayBenchmark],
        _ readings: Int,
        _ measure: (RelayBenchmark) throws -> Value
    ) throws -> [[Value]] {
        var values: [[Value]] = relays.map { _ in [] }
        for _ in 0..<readings {
            var index = 0
            while index < relays.count {
                do {
                    values[index].append(try measure(relays[index]))
                    index += 1
                } catch {
                    // Another relay may have limits that the nws relay does not have.
                    guard !relays[index].isOurs else { throw error }
                    say("  \(relays[index].name): left out from here on: \(error)")
                    relays.remove(at: index)
                    values.remove(at: index)
                }
            }
        }
        return values
    }

    private func rate(of load: Load) throws -> Rate {
        let reader = SecretKey.generate().publicKey.hex
        let frames = try (0..<load.publishers).map { _ in
            try self.events(load.count, contentLength: load.contentLength, to: reader)
        }
        let took = try self.seconds(events: frames, reader: reader, subscribers: load.subscribers)
        let events = Double(load.count * load.publishers * load.subscribers) / took
        return Rate(events: events, bytes: events * Double(frames[0][0].count))
    }

    /// Returns the time from sending an event to receiving it, in milliseconds, for 500 events sent one at a time.
    private func latency(contentLength: Int) throws -> [Double] {
        let reader = SecretKey.generate().publicKey.hex
        let subscriber = try self.subscriber(reader)
        let publisher = try RawWebSocket(port: self.port)
        let answers = Worker { while (try? publisher.receive()) != nil {} }
        defer {
            publisher.abort()
            _ = try? answers.value()
        }
        return try self.events(500, contentLength: contentLength, to: reader).map { frame in
            let start = nws_bench.seconds()
            try publisher.send(frame)
            try subscriber.collectEvents(1)
            return (nws_bench.seconds() - start) * 1e3
        }
    }

    /// Measures the throughput while other connections hold many subscriptions.
    private func manySubscriptions(_ readings: Int, _ report: Report) throws {
        let counts = [100, 1_000, 5_000]
        var rates: [[Double]] = counts.map { _ in [] }
        for _ in 0..<readings {
            for (index, count) in counts.enumerated() {
                let others = try (0..<count / 100).map { _ in
                    let socket = try RawWebSocket(port: self.port)
                    for number in 0..<100 {
                        let key = SecretKey.generate().publicKey.hex
                        try socket.send(
                            text: "[\"REQ\",\"\(number)\",{\"kinds\":[28333],\"#p\":[\"\(key)\"],\"limit\":0}]"
                        )
                        guard try socket.wait(for: ["[\"EOSE\"", "[\"CLOSED\""]) == 0 else {
                            throw BlockingSocket.Failure(what: "the relay closed a subscription")
                        }
                    }
                    return socket
                }
                let load = Load(name: "", contentLength: 100, count: 5_000)
                rates[index].append(try self.rate(of: load).events)
                withExtendedLifetime(others) {}
            }
        }
        for (count, rates) in zip(counts, rates) {
            report.add("\(self.name): small events with \(count) other subscriptions", "events/s", rates)
        }
    }
}
