//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto

/// Measures round trips through the relay without the cost of creating and parsing events.
///
/// Two clients of the relay exchange events that are signed in advance. An event is about as large as the one that
/// carries a 64-byte echo.
struct PresignedRoundTrips {
    private static let contentLength = 300

    private let relay: RelayBenchmark
    private let near = SecretKey.generate().publicKey.hex
    private let far = SecretKey.generate().publicKey.hex
    private let nearSocket: RawWebSocket
    private let farSocket: RawWebSocket

    init(port: UInt16) throws {
        self.relay = RelayBenchmark(name: "", port: port, isOurs: true)
        self.nearSocket = try self.relay.subscriber(self.near)
        self.farSocket = try self.relay.subscriber(self.far)
    }

    /// Measures `count` round trips; returns the milliseconds of each.
    func measure(_ count: Int) throws -> [Double] {
        let requests = try self.relay.events(count, contentLength: Self.contentLength, to: self.far)
        let answers = try self.relay.events(count, contentLength: Self.contentLength, to: self.near)
        let (near, far) = (self.nearSocket, self.farSocket)
        let answering = Worker {
            for answer in answers {
                try far.collectEvents(1)
                try far.send(answer)
            }
        }
        let times = try requests.map { request in
            let start = seconds()
            try near.send(request)
            try near.collectEvents(1)
            return (seconds() - start) * 1e3
        }
        try answering.value()
        return times
    }
}
