//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// A placeholder for the endpoint of a stream that is reset after delivery. It ignores everything while the engine
/// delivers the bytes that were already sent.
final class AbandonedEndpoint: StreamEndpoint {
    func opened() {}
    func credit(_ bytes: Int) {}
    func receive(_ data: ByteBuffer) {}
    func finished() {}
    func ended(_ reason: StreamEnd?) {}
}
