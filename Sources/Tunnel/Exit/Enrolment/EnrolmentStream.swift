//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// The exit's end of the stream in which a device enrols. It collects the request, and sends the answer.
final class EnrolmentStream: StreamEndpoint {
    private let carrier: any StreamCarrier
    private let id: StreamID
    private var request = ByteBuffer()
    private var isOver = false
    /// Receives the complete request; nil if it is malformed. Called at most once.
    private var onRequest: ((EnrolmentRequest?) -> Void)?
    private let onEnd: () -> Void

    /// - Parameters:
    ///   - onRequest: Receives the request; nil if it is malformed.
    ///   - onEnd: Called when the stream has ended.
    init(
        carrier: any StreamCarrier,
        id: StreamID,
        onRequest: @escaping (EnrolmentRequest?) -> Void,
        onEnd: @escaping () -> Void
    ) {
        self.carrier = carrier
        self.id = id
        self.onRequest = onRequest
        self.onEnd = onEnd
    }

    /// Sends the answer and finishes the stream.
    func answer(_ answer: EnrolmentAnswer) {
        guard !self.isOver else { return }
        self.carrier.send(self.id, answer.encoded)
        self.carrier.finish(self.id)
    }

    func opened() {}
    // The answer is much smaller than the initial credit.
    func credit(_ bytes: Int) {}

    func receive(_ data: ByteBuffer) {
        self.carrier.consumed(self.id, data.readableBytes)
        guard self.onRequest != nil else { return }
        guard self.request.readableBytes + data.readableBytes <= EnrolmentRequest.maximumLength else {
            return self.complete(nil)
        }
        self.request.writeImmutableBuffer(data)
    }

    func finished() { self.complete(EnrolmentRequest(encoded: self.request)) }

    private func complete(_ request: EnrolmentRequest?) {
        let onRequest = self.onRequest
        self.onRequest = nil
        onRequest?(request)
    }

    func ended(_ reason: StreamEnd?) {
        guard !self.isOver else { return }
        self.isOver = true
        self.onRequest = nil
        self.onEnd()
    }
}
