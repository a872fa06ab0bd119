//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The services to which the exit has connected lately. Streams to them are reported as open before the exit confirms
/// them, because they will very probably connect again.
struct RecentServices: Sendable {
    /// How long ago the last connection may be.
    static let lifetime: TimeAmount = .seconds(60)
    /// Maximum number of services. Beyond it, the oldest is forgotten.
    static let maximumCount = 64

    private var services: [StreamRequest: NIODeadline] = [:]

    /// Whether the exit has connected to the service lately, and has not failed since.
    func contains(_ request: StreamRequest, at now: NIODeadline) -> Bool {
        self.services[request].map { now - $0 < Self.lifetime } ?? false
    }

    mutating func connected(_ request: StreamRequest, at now: NIODeadline) {
        if self.services[request] == nil, self.services.count >= Self.maximumCount,
            let oldest = self.services.min(by: { $0.value < $1.value })?.key
        {
            self.services[oldest] = nil
        }
        self.services[request] = now
    }

    mutating func failed(_ request: StreamRequest) { self.services[request] = nil }
}
