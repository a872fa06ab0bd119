//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// Holds the place of an endpoint that is gone while the engine delivers what it sent.
final class AbandonedEndpoint: StreamEndpoint {
    func opened() {}
    func credit(_ bytes: Int) {}
    func receive(_ data: ByteBuffer) {}
    func finished() {}
    func ended(_ reason: StreamEnd?) {}
}
