//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Open connections that a node did not get from a relay, on its loop.
final class ConnectionSet {
    private let limit: Int
    private let limitOfAddress: Int
    private var channels: [ObjectIdentifier: any Channel] = [:]
    /// Holds as many entries as there are channels at most.
    private var byAddress: [String: Int] = [:]

    /// - Parameter limitOfAddress: Most connections with one remote address.
    init(limit: Int, limitOfAddress: Int = .max) {
        self.limit = limit
        self.limitOfAddress = limitOfAddress
    }

    /// Adds a channel until it closes; false if there are too many.
    func add(_ channel: any Channel) -> Bool {
        let address = channel.remoteAddress?.ipAddress ?? ""
        guard self.channels.count < self.limit, self.byAddress[address, default: 0] < self.limitOfAddress else {
            return false
        }
        let id = ObjectIdentifier(channel)
        self.channels[id] = channel
        self.byAddress[address, default: 0] += 1
        let bound = NIOLoopBound(self, eventLoop: channel.eventLoop)
        channel.closeFuture.whenComplete { _ in bound.value.remove(id, address) }
        return true
    }

    private func remove(_ id: ObjectIdentifier, _ address: String) {
        guard self.channels.removeValue(forKey: id) != nil, let count = self.byAddress[address] else { return }
        self.byAddress[address] = count > 1 ? count - 1 : nil
    }

    func closeAll() {
        for channel in self.channels.values { channel.close(promise: nil) }
    }
}
