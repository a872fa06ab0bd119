//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// Measures a whole tunnel of three processes: relay, exit and entry.
final class TunnelBenchmark {
    private let report: Report
    private let roofline: StageBenchmark.Roofline?
    private let readings: Int
    private let nodes: [Node]
    private let socks: UInt16
    private let name: String
    private let backend: Backend
    private let relayPort: UInt16

    init(program: String, report: Report, roofline: StageBenchmark.Roofline?, readings: Int, folder: URL) throws {
        self.report = report
        self.roofline = roofline
        self.readings = readings
        self.backend = try Backend()
        let relay = try Node("relay", program: program, ["relay", "--listen", "127.0.0.1:0"], in: folder)
        let url = try relay.value("relay")
        let exit = try Node(
            "exit",
            program: program,
            [
                "exit", "--relay", url, "--backend", "127.0.0.1:\(self.backend.port)", "--log-level", "error",
                "--max-streams", "12000", "--max-sessions", "2000", "--max-handshakes-per-second", "100000",
                "--max-streams-per-second", "100000",
            ],
            in: folder
        )
        self.name = try exit.value("name")
        let entry = try Node(
            "entry",
            program: program,
            ["entry", "--listen", "127.0.0.1:0", "--relay", url, "--log-level", "error", "--max-connections", "20000"],
            in: folder
        )
        let address = try entry.value("socks")
        self.nodes = [relay, exit, entry]
        self.socks = try Self.port(address)
        self.relayPort = try Self.port(url)
    }

    func stop() { for node in self.nodes.reversed() { node.stop() } }

    private static func port(_ text: String) throws -> UInt16 {
        guard let port = text.split(separator: ":").last.flatMap({ UInt16($0.filter(\.isNumber)) }) else {
            throw BlockingSocket.Failure(what: "\(text): no port found")
        }
        return port
    }

    // MARK: Streams

    /// Opens a stream through the tunnel.
    ///
    /// - Parameter isolation: SOCKS user name; streams with different names use different sessions.
    private func open(_ isolation: String? = nil) throws -> BlockingSocket {
        try Self.open(self.socks, self.name, isolation)
    }

    private static func open(_ socks: UInt16, _ name: String, _ isolation: String? = nil) throws -> BlockingSocket {
        let socket = try BlockingSocket(port: socks)
        if let isolation {
            let user = Array(isolation.utf8)
            try socket.write([5, 1, 2])
            guard try socket.read(exactly: 2) == [5, 2] else {
                throw BlockingSocket.Failure(what: "the proxy did not select SOCKS5 authentication")
            }
            try socket.write([1, UInt8(user.count)] + user + [1, UInt8(ascii: "x")])
            guard try socket.read(exactly: 2)[1] == 0 else {
                throw BlockingSocket.Failure(what: "the proxy rejected the SOCKS5 credentials")
            }
        } else {
            try socket.write([5, 1, 0])
            guard try socket.read(exactly: 2) == [5, 0] else {
                throw BlockingSocket.Failure(what: "the proxy did not accept a SOCKS5 greeting")
            }
        }
        let name = Array(name.utf8)
        try socket.write([5, 1, 0, 3, UInt8(name.count)] + name + [0, 80])
        let reply = try socket.read(exactly: 10)
        guard reply[1] == 0 else { throw BlockingSocket.Failure(what: "SOCKS reply \(reply[1])") }
        return socket
    }

    private static func download(_ socket: BlockingSocket, _ bytes: Int) throws {
        try socket.write([UInt8(ascii: "d")] + Backend.encoded(bytes))
        var buffer = [UInt8](repeating: 0, count: 512 << 10)
        var received = 0
        while true {
            let count = try socket.read(into: &buffer)
            guard count > 0 else { break }
            received += count
        }
        guard received == bytes else { throw BlockingSocket.Failure(what: "received \(received) of \(bytes) bytes") }
    }

    private static func upload(_ socket: BlockingSocket, _ bytes: Int) throws {
        try socket.write([UInt8(ascii: "u")] + Backend.encoded(bytes))
        let chunk = [UInt8](repeating: 7, count: 256 << 10)
        var rest = bytes
        while rest > 0 {
            let part = min(rest, chunk.count)
            try chunk.withUnsafeBytes { try socket.write(UnsafeRawBufferPointer(rebasing: $0[0..<part])) }
            rest -= part
        }
        guard try socket.read(exactly: 1) == [UInt8(ascii: "k")] else {
            throw BlockingSocket.Failure(what: "the service did not confirm the upload")
        }
    }

    // MARK: Figures

    func run() throws {
        // Warm up: start the session, and let its congestion window grow.
        try Self.download(try self.open(), 20_000_000)
        // Measure idle streams first. Bulk transfers leave free memory that idle streams would reuse. If there were
        // several sessions, the exit would limit each to a share of its streams, which is less than this test needs.
        try self.idle()
        try self.bulk()
        try self.latency()
        try self.rates()
    }

    private func bulk() throws {
        self.report.begin("Bulk through the tunnel, relay, exit and entry on this machine")
        let total = 400_000_000
        for (name, streams, up, down) in [
            ("download, 1 stream", 1, false, true), ("upload, 1 stream", 1, true, false),
            ("both ways, 1 stream each", 1, true, true), ("download, 10 streams", 10, false, true),
            ("download, 100 streams", 100, false, true), ("download, 1000 streams", 1_000, false, true),
            ("upload, 100 streams", 100, true, false),
        ] {
            var rates: [Double] = []
            var costs: [[Double]] = [[], [], [], []]
            for _ in 0..<self.readings {
                let part = total / streams / (up && down ? 2 : 1)
                let sockets = try (0..<(streams * (up && down ? 2 : 1))).map { _ in try self.open() }
                // The cost of opening streams is measured separately, so start the measurement here.
                let before = self.nodes.map(\.processorTime)
                let start = seconds()
                let workers = sockets.enumerated().map { index, socket in
                    let isUpload = up && (!down || index < streams)
                    return Worker { try isUpload ? Self.upload(socket, part) : Self.download(socket, part) }
                }
                for worker in workers { try worker.value() }
                let bytes = Double(part * sockets.count)
                rates.append(bytes / (seconds() - start) / 1e6)
                let each = zip(self.nodes, before).map { ($0.processorTime - $1) / bytes * 1e9 }
                for (index, cost) in each.enumerated() { costs[index].append(cost) }
                costs[3].append(each.reduce(0, +))
            }
            let cores = Double(min(2, ProcessInfo.processInfo.activeProcessorCount))
            let ideal = self.roofline.map { $0.rate(of: StageBenchmark.payload, cores: cores) / 1e6 }
            self.report.add(
                name,
                "MB/s",
                rates,
                reference: "roofline of \(ideal.map { String(format: "%.0f", $0) } ?? "-") MB/s on two cores",
                ratio: ideal.map { Distribution(rates).median / $0 }
            )
            for (index, node) in ["relay", "exit", "entry", "all three"].enumerated() {
                self.report.add("\(name): processor time of \(node)", "s/GB", costs[index])
            }
        }
    }

    private func echoes(_ socket: BlockingSocket, _ count: Int) throws -> [Double] {
        let message = [UInt8](repeating: 5, count: 64)
        return try (0..<count).map { _ in
            let start = seconds()
            try socket.write(message)
            _ = try socket.read(exactly: 64)
            return (seconds() - start) * 1e3
        }
    }

    private func latency() throws {
        self.report.begin("Latency")
        let plain = try BlockingSocket(port: self.backend.port)
        try plain.write([UInt8(ascii: "e")])
        self.addLatency("echo of 64 bytes, without a tunnel", try self.echoes(plain, 2_000))
        let socket = try self.open()
        try socket.write([UInt8(ascii: "e")])
        let presigned = try PresignedRoundTrips(port: self.relayPort)
        var (echoes, roundTrips, above): ([Double], [Double], [Double]) = ([], [], [])
        // Measure both alternately, so that other load on the machine affects them equally.
        for _ in 0..<10 {
            let (echo, roundTrip) = (try self.echoes(socket, 200), try presigned.measure(200))
            echoes += echo
            roundTrips += roundTrip
            above.append(Distribution(echo).median - Distribution(roundTrip).median)
        }
        self.addLatency("echo of 64 bytes, idle", echoes)
        self.addLatency("round trip of pre-signed events, same relay", roundTrips)
        self.report.add("echo of 64 bytes, in excess of that round trip", "ms", above)
        self.addLatency("a new stream and its first byte, idle", try (0..<200).map { _ in try self.firstByte() })
        self.addLatency(
            "a new session and its first byte",
            try (0..<30).map { try self.firstByte("fresh-\($0)-\(seconds())") }
        )
        let bulk = try self.open()
        let loading = Worker { try? Self.download(bulk, 100_000_000_000) }
        usleep(500_000)
        self.addLatency("echo of 64 bytes, beside a download", try self.echoes(socket, 1_000))
        self.addLatency(
            "a new stream and its first byte, beside a download",
            try (0..<100).map { _ in try self.firstByte() }
        )
        bulk.abort()
        _ = try loading.value()
    }

    private func addLatency(_ name: String, _ values: [Double]) {
        self.report.add(name, "ms", values)
        self.report.add("\(name), p99", "ms", [Distribution.percentile(99, of: values)])
    }

    private func firstByte(_ isolation: String? = nil) throws -> Double {
        let start = seconds()
        let socket = try self.open(isolation)
        try socket.write(Array("ex".utf8))
        _ = try socket.read(exactly: 1)
        return (seconds() - start) * 1e3
    }

    private func rates() throws {
        self.report.begin("Rates")
        for atOnce in [16, 128] {
            let rates = try (0..<self.readings).map { _ in try self.rate(of: 4_096, atOnce: atOnce) }
            self.report.add("open, echo a byte, close, \(atOnce) at once", "streams/s", rates)
        }
        // Each session has its own connection to the relay; an entry opens at most 256 connections.
        let atOnce = 16
        let rate = try self.rate(of: 128, atOnce: atOnce) { "s-\($0)-\($1)" }
        self.report.add("new sessions, each with its own relay connection, \(atOnce) at once", "sessions/s", [rate])
    }

    /// Returns the number of streams per second that `atOnce` concurrent clients open, each one stream at a time.
    ///
    /// - Parameter isolation: Returns the SOCKS user name of a stream. Each name has its own session.
    private func rate(
        of count: Int,
        atOnce: Int,
        isolation: @escaping @Sendable (_ client: Int, _ number: Int) -> String? = { _, _ in nil }
    ) throws -> Double {
        let (socks, name) = (self.socks, self.name)
        let start = seconds()
        let clients = (0..<atOnce).map { client in
            Worker {
                for number in 0..<count / atOnce {
                    let socket = try Self.open(socks, name, isolation(client, number))
                    try socket.write(Array("ex".utf8))
                    _ = try socket.read(exactly: 1)
                }
            }
        }
        for client in clients { try client.value() }
        return Double(count) / (seconds() - start)
    }

    /// Number of idle streams: 10,000, or fewer if the limit on file descriptors does not allow both ends of each.
    private static var idleStreams: Int {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        return min(10_000, Int(clamping: limit.rlim_cur) / 2 - 500)
    }

    private func idle() throws {
        let count = Self.idleStreams
        self.report.begin("Idle, \(count) streams")
        let before = self.nodes.map(\.memory)
        let sockets = try (0..<count).map { _ in
            let socket = try self.open()
            try socket.write([UInt8(ascii: "i")])
            return socket
        }
        sleep(2)
        for (node, memory) in zip(self.nodes, before) {
            self.report.add(
                "memory of an idle stream, \(node.name)",
                "KB",
                [(node.memory - memory) / Double(count) / 1e3]
            )
        }
        let start = self.nodes.map(\.processorTime)
        sleep(10)
        for (node, time) in zip(self.nodes, start) {
            self.report.add(
                "use of a core with \(count) idle streams, \(node.name)",
                "%",
                [(node.processorTime - time) * 10]
            )
        }
        try self.end(sockets)
    }

    private func end(_ sockets: [BlockingSocket]) throws {
        for socket in sockets { socket.abort() }
        Backend.endIdle()
        try self.waitUntilClosed()
    }

    /// Waits until no process is busy. Closed streams take a while to end, and count towards the limit of their session
    /// until then.
    private func waitUntilClosed() throws {
        let deadline = seconds() + 30
        var quiet = 0
        var before = self.nodes.map(\.processorTime)
        while quiet < 3 {
            guard seconds() < deadline else {
                throw BlockingSocket.Failure(what: "the nodes are still busy 30 s after the streams were closed")
            }
            usleep(500_000)
            let now = self.nodes.map(\.processorTime)
            quiet = zip(now, before).allSatisfy { $0 - $1 < 0.025 } ? quiet + 1 : 0
            before = now
        }
    }

    /// Measures the memory of idle sessions. Use newly started processes, because sessions would reuse freed memory.
    func idleSessions() throws {
        try self.open().abort()
        try self.waitUntilClosed()
        let before = self.nodes.map(\.memory)
        let count = 60
        let sockets = try (0..<count).map { number in
            let socket = try self.open("idle-\(number)")
            try socket.write([UInt8(ascii: "i")])
            return socket
        }
        sleep(2)
        for (node, memory) in zip(self.nodes, before) {
            self.report.add(
                "memory of an idle session, \(node.name)",
                "KB",
                [(node.memory - memory) / Double(count) / 1e3]
            )
        }
        try self.end(sockets)
    }
}
