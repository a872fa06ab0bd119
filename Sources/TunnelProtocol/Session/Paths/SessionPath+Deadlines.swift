//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr

/// When something is due on a path.
extension SessionPath {
    /// When ``detectLosses(at:)`` must be called next; nil if no packet can be declared lost by time.
    var lossDeadline: NIODeadline? { self.sent.oldestOvertaken.map { $0.sentAt + self.rtt.lossDelay } }

    /// When the path must be probed; nil if no probe is needed.
    ///
    /// - Parameter isAlone: Whether no other path is active.
    func probeDeadline(isAlone: Bool) -> NIODeadline? {
        // Nothing is sent between paced events.
        self.probeTime(isAlone: isAlone).map { self.pacer.wait(at: $0) ?? $0 }
    }

    private func probeTime(isAlone: Bool) -> NIODeadline? {
        switch self.health {
        case .down: return nil
        case .probing: return self.probe.due
        case .active:
            let timeout = self.rtt.probeTimeout(
                acknowledgementDelay: self.acknowledgementDelay,
                transfer: self.model.transferTime(self.sent.bytesInFlight)
            )
            return self.probe.deadline(oldest: self.sent.oldestInFlight?.sentAt, isAlone: isAlone, timeout: timeout)
        }
    }
}
