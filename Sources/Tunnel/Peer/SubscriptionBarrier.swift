//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrClient

/// Waits until a key is subscribed to on all connected relays. After a timeout, one relay is sufficient, because
/// packets that are lost on the other relays are retransmitted.
final class SubscriptionBarrier {
    private static let timeout: TimeAmount = .seconds(2)

    private var missing: Set<ObjectIdentifier>
    private var hasSubscription = false
    private var hasTimedOut = false
    private var completion: (() -> Void)?

    /// - Parameter completion: Called at most once; never if no relay accepts the subscription. The barrier keeps itself
    ///   and this closure alive until the timeout.
    init(_ relays: [RelayConnection], loop: any EventLoop, completion: @escaping () -> Void) {
        self.missing = Set(relays.filter(\.isOpen).map(ObjectIdentifier.init))
        self.completion = completion
        let bound = NIOLoopBound(self, eventLoop: loop)
        _ = loop.scheduleTask(in: Self.timeout) {
            bound.value.hasTimedOut = true
            bound.value.finishIfReady()
        }
    }

    /// Records that the subscription is active on a relay.
    func subscribed(on relay: RelayConnection) {
        self.missing.remove(ObjectIdentifier(relay))
        self.hasSubscription = true
        self.finishIfReady()
    }

    private func finishIfReady() {
        guard self.hasSubscription, self.missing.isEmpty || self.hasTimedOut else { return }
        let completion = self.completion
        self.completion = nil
        completion?()
    }
}
