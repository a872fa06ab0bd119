//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import TunnelProtocol

/// Called when a stream ended: why (nil if everything was transferred), and the bytes that were sent to the peer and
/// received from it.
typealias StreamEndHandler = (_ reason: StreamEnd?, _ sent: Int, _ received: Int) -> Void

/// Answers the client when the stream fails.
protocol SpliceFailureHandler: AnyObject {
    /// The stream ended with an error. Returns whether the connection is handled; if not, it is reset when everything that
    /// the peer sent was delivered.
    func splice(_ splice: SpliceHandler, didFail reason: StreamEnd) -> Bool
}
