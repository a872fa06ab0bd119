//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Receives changes of a relay connection. All methods are called on the connection's event loop.
package protocol RelayConnectionDelegate: AnyObject {
    func relay(_ relay: RelayConnection, didChange state: RelayConnection.Transition)
}

extension RelayConnection {
    /// A change of the connection.
    package enum Transition {
        /// Messages can be sent.
        case connected
        /// The relay accepted a subscription. This may be reported several times per connection.
        case subscribed
        /// The relay rejected an event because of its rate limit. Events are sent more slowly from now on.
        case rateLimited
        /// The connection ended, or could not be established. Repeated failures to connect are reported once.
        case disconnected(reason: String)
    }
}
