//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule

/// The time of an input to a ``NIP74StateMachine``, and the actions and timers that result from it.
struct NIP74Context {
    /// What is due at some time.
    enum Timer: Hashable, Sendable {
        case stream(StreamID)
        case earlyMessages
        case offers
    }

    /// The time of the current input.
    var now: Moment
    /// Actions for the driver, in order.
    var actions: Deque<StreamAction<NIP74Signal>> = []
    var timers = TimerQueue<Timer>()
    private var lastToken: UInt64 = 0

    init(now: Moment) { self.now = now }

    /// Creates a token for a message.
    mutating func makeToken() -> MessageToken {
        self.lastToken += 1
        return MessageToken(rawValue: self.lastToken)
    }
}
