//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NIOCore
import Nostr
import NostrCrypto

/// A relay under events that were signed beforehand: how many, how much, and how soon they arrive.
struct RelayBenchmark {
    let report: Report
    let name: String
    let port: UInt16
    let readings: Int
    let isOurs: Bool

    /// Frames of signed events to one reader.
    private func events(_ count: Int, contentLength: Int, to reader: String) throws -> [[UInt8]] {
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

    private func subscriber(_ reader: String) throws -> RawWebSocket {
        let socket = try RawWebSocket(port: self.port)
        try socket.send(text: "[\"REQ\",\"s\",{\"kinds\":[28333],\"#p\":[\"\(reader)\"],\"limit\":0}]")
        try socket.wait(for: ["[\"EOSE\""])
        return socket
    }

    /// Seconds until all subscribers have all events of all publishers.
    private func seconds(events: [[[UInt8]]], reader: String, subscribers: Int) throws -> Double {
        let readers = try (0..<subscribers).map { _ in try self.subscriber(reader) }
        let total = events.reduce(0) { $0 + $1.count }
        let publishers = try events.map { _ in try RawWebSocket(port: self.port) }
        let start = nws_bench.seconds()
        let reading = readers.map { socket in
            Worker { for _ in 0..<total { try socket.wait(for: ["[\"EVENT\""]) } }
        }
        let writing = zip(publishers, events).map { socket, frames in
            Worker { for frame in frames { try socket.send(frame) } }
        }
        // Answers are read too, or the relay would hold them.
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

    func run() throws {
        let loads = [
            Load(name: "one to one, 55 KB events", contentLength: 54_700, count: 2_000),
            Load(name: "one to one, small events", contentLength: 100, count: 5_000),
            Load(name: "one to 8, 55 KB events", contentLength: 54_700, count: 500, subscribers: 8),
            Load(name: "8 to one, 55 KB events", contentLength: 54_700, count: 250, publishers: 8),
        ]
        for load in loads {
            var megabytes: [Double] = []
            var events: [Double] = []
            for _ in 0..<self.readings {
                let reader = SecretKey.generate().publicKey.hex
                let frames = try (0..<load.publishers).map { _ in
                    try self.events(load.count, contentLength: load.contentLength, to: reader)
                }
                let took = try self.seconds(events: frames, reader: reader, subscribers: load.subscribers)
                let delivered = Double(load.count * load.publishers * load.subscribers)
                events.append(delivered / took)
                megabytes.append(delivered * Double(frames[0][0].count) / took / 1e6)
            }
            self.report.add("\(self.name): \(load.name), delivered", "MB/s", megabytes)
            self.report.add("\(self.name): \(load.name), delivered", "events/s", events)
        }
        try self.latency()
        // Others may allow less.
        if self.isOurs { try self.manySubscriptions() }
    }

    /// From the first byte of an event to its delivery, one at a time.
    private func latency() throws {
        let reader = SecretKey.generate().publicKey.hex
        let subscriber = try self.subscriber(reader)
        let publisher = try RawWebSocket(port: self.port)
        let count = 500
        let waits = try self.events(count, contentLength: 200, to: reader).map { frame in
            let start = nws_bench.seconds()
            try publisher.send(frame)
            try subscriber.wait(for: ["[\"EVENT\""])
            return (nws_bench.seconds() - start) * 1e3
        }
        self.report.add("\(self.name): small event, until it arrives", "ms", waits)
        self.report.add(
            "\(self.name): small event, until it arrives, p99",
            "ms",
            [Distribution.percentile(99, of: waits)]
        )
    }

    /// What other people's subscriptions cost an event.
    private func manySubscriptions() throws {
        for connections in [1, 50] {
            let others = try (0..<connections).map { _ in
                let socket = try RawWebSocket(port: self.port)
                for number in 0..<100 {
                    let key = SecretKey.generate().publicKey.hex
                    try socket.send(text: "[\"REQ\",\"\(number)\",{\"kinds\":[28333],\"#p\":[\"\(key)\"],\"limit\":0}]")
                    try socket.wait(for: ["[\"EOSE\"", "[\"CLOSED\""])
                }
                return socket
            }
            let values = try (0..<self.readings).map { _ in
                let reader = SecretKey.generate().publicKey.hex
                let frames = try self.events(5_000, contentLength: 100, to: reader)
                return 5_000 / (try self.seconds(events: [frames], reader: reader, subscribers: 1))
            }
            self.report.add("\(self.name): small events beside \(connections * 100) subscriptions", "events/s", values)
            withExtendedLifetime(others) {}
        }
    }
}
