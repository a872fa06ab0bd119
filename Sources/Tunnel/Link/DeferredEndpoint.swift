//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// Holds back what a link reports while its stream is being opened, until whoever asked knows the stream.
final class DeferredEndpoint: StreamEndpoint {
    private let endpoint: any StreamEndpoint
    private var held: [(any StreamEndpoint) -> Void]? = []

    init(_ endpoint: any StreamEndpoint) {
        self.endpoint = endpoint
    }

    func release() {
        let held = self.held ?? []
        self.held = nil
        for call in held { call(self.endpoint) }
    }

    private func pass(_ call: @escaping (any StreamEndpoint) -> Void) {
        if self.held == nil { call(self.endpoint) } else { self.held?.append(call) }
    }

    func opened() { self.pass { $0.opened() } }
    func credit(_ bytes: Int) { self.pass { $0.credit(bytes) } }
    func receive(_ data: ByteBuffer) { self.pass { $0.receive(data) } }
    func finished() { self.pass { $0.finished() } }
    func ended(_ reason: StreamEnd?) { self.pass { $0.ended(reason) } }
}
