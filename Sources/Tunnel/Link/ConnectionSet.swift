//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Open connections that a node did not get from a relay, on its loop.
final class ConnectionSet {
    private let limit: Int
    private var channels: [ObjectIdentifier: any Channel] = [:]

    init(limit: Int) {
        self.limit = limit
    }

    /// Adds a channel until it closes; false if there are too many.
    func add(_ channel: any Channel) -> Bool {
        guard self.channels.count < self.limit else { return false }
        let id = ObjectIdentifier(channel)
        self.channels[id] = channel
        let bound = NIOLoopBound(self, eventLoop: channel.eventLoop)
        channel.closeFuture.whenComplete { _ in bound.value.channels[id] = nil }
        return true
    }

    func closeAll() {
        for channel in self.channels.values { channel.close(promise: nil) }
    }
}
