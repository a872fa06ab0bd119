//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The open connections with local clients, or with peers that connect without a relay. Their number is limited in
/// total and per remote address.
///
/// All methods must be called on the event loop of the connections.
final class ConnectionSet {
    private let limit: Int
    private let limitOfAddress: Int
    private var channels: [ObjectIdentifier: any Channel] = [:]
    /// Number of connections per address. There are never more entries than channels.
    private var byAddress: [String: Int] = [:]

    /// - Parameter limitOfAddress: Maximum number of connections with one remote address.
    init(limit: Int, limitOfAddress: Int = .max) {
        self.limit = limit
        self.limitOfAddress = limitOfAddress
    }

    /// Adds a channel, and removes it when it closes. Returns false if a limit is reached.
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
