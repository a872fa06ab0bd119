//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// Sits at the stream of an offer until it is known what becomes of it.
final class OfferEndpoint: StreamEndpoint {
    private let onOpened: () -> Void
    private let onEnded: (StreamEnd?) -> Void

    /// - Parameters:
    ///   - onOpened: Nobody accepted, and plain NIP-74 is spoken.
    ///   - onEnded: The exit was not reached at all, or only plain NIP-74 where that will not do.
    init(onOpened: @escaping () -> Void, onEnded: @escaping (StreamEnd?) -> Void) {
        self.onOpened = onOpened
        self.onEnded = onEnded
    }

    func opened() { self.onOpened() }
    func credit(_ bytes: Int) {}
    func receive(_ data: ByteBuffer) {}
    func finished() {}
    func ended(_ reason: StreamEnd?) { self.onEnded(reason) }
}
