//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrClient

/// Waits until a key is subscribed to on all relays that are connected. After a time-out, one relay is enough: what the
/// others miss is sent again.
final class SubscriptionBarrier {
    private static let timeout: TimeAmount = .seconds(2)

    private var missing: Set<ObjectIdentifier>
    private var hasArrived = false
    private var hasTimedOut = false
    private var completion: (() -> Void)?

    /// - Parameter completion: Called once.
    init(_ relays: [RelayConnection], loop: any EventLoop, completion: @escaping () -> Void) {
        self.missing = Set(relays.filter(\.isOpen).map(ObjectIdentifier.init))
        self.completion = completion
        let bound = NIOLoopBound(self, eventLoop: loop)
        _ = loop.scheduleTask(in: Self.timeout) {
            bound.value.hasTimedOut = true
            bound.value.finishIfReady()
        }
    }

    /// The subscription is in force on a relay.
    func arrived(_ relay: RelayConnection) {
        self.missing.remove(ObjectIdentifier(relay))
        self.hasArrived = true
        self.finishIfReady()
    }

    private func finishIfReady() {
        guard self.hasArrived, self.missing.isEmpty || self.hasTimedOut else { return }
        let completion = self.completion
        self.completion = nil
        completion?()
    }
}
