//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

extension ConnectivityChecks {
    /// Timing of the checks.
    package struct Configuration: Hashable, Sendable {
        /// Minimum time between two requests of a session (RFC 8445, section 14.2: Ta).
        package var pacing: TimeAmount = .milliseconds(20)
        /// Time between the first two requests to an address. It doubles with each one.
        package var repetition: TimeAmount = .milliseconds(100)
        /// Number of requests to an address that does not answer.
        package var attempts = 7
        /// Time between requests to the address in use, if nothing arrives from it. NATs forget mappings after 30 s and more.
        package var keepAlive: TimeAmount = .seconds(15)
        /// Time between requests to the address in use when it is suspected to be lost.
        package var suspicion: TimeAmount = .milliseconds(200)
        /// Number of unanswered requests after which the address in use is lost.
        package var unanswered = 4
        /// Time until an unreachable peer is checked again. It doubles each time, up to the maximum.
        package var retry: TimeAmount = .seconds(60)
        package var maximumRetry: TimeAmount = .minutes(10)
        /// By how much shorter the round trip of another address must be, in percent, for the client to change.
        package var advantage = 20

        /// Minimum time between two changes of the address in use, while the former one works.
        package var changes: TimeAmount = .milliseconds(500)

        package init() {}
    }
}
