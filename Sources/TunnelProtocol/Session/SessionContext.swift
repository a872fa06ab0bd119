//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule

/// The time of an input to a session, and the actions and control frames that result from it.
struct SessionContext: Sendable {
    /// The time of the current input.
    var now: Moment
    /// Actions for the driver, in order.
    var actions: Deque<StreamAction<SessionSignal>> = []
    /// Control frames for the next packets.
    var control: ControlQueue
}
