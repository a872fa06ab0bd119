//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import TunnelProtocol

/// Called when a stream has ended, with the reason (nil if all data was transferred) and the numbers of bytes that were
/// sent to the peer and received from it.
typealias StreamEndHandler = (_ reason: StreamEnd?, _ sent: Int, _ received: Int) -> Void

/// Sends an error response to the client when the stream fails.
protocol SpliceFailureHandler: AnyObject {
    /// The stream ended with an error. Returns whether this object has handled the connection. If not, the connection
    /// is reset after all bytes from the peer were delivered.
    func splice(_ splice: SpliceHandler, didFail reason: StreamEnd) -> Bool
}
