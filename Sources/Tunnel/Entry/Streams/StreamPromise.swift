//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import TunnelProtocol

/// Opens a stream for the program's own code, and retains the opening until it succeeds or fails.
final class StreamPromise: StreamOpeningDelegate {
    private let completion: (Result<StreamOpening, StreamFailure>) -> Void
    /// Retains this object, because the opening does not retain its delegate.
    private var cycle: StreamPromise?
    private var opening: StreamOpening?

    private init(_ completion: @escaping (Result<StreamOpening, StreamFailure>) -> Void) {
        self.completion = completion
    }

    /// - Parameter completion: Called once: with the opening when the exit has connected to its target, or with the
    ///   error. Not called after ``cancel()``.
    @discardableResult
    static func open(
        _ target: TargetAddress,
        opener: any StreamOpener,
        logger: LimitedLogger,
        completion: @escaping (Result<StreamOpening, StreamFailure>) -> Void
    ) -> StreamPromise {
        let promise = StreamPromise(completion)
        promise.cycle = promise
        let opening = StreamOpening(
            ProxyRequest(target, credentials: nil),
            opener: opener,
            logger: logger,
            delegate: promise
        )
        promise.opening = opening
        opening.start()
        return promise
    }

    /// Gives up the opening. Returns false if it has succeeded or failed already.
    func cancel() -> Bool {
        guard let opening else { return false }
        self.cycle = nil
        self.opening = nil
        opening.abandon()
        return true
    }

    func openingDidSucceed(_ opening: StreamOpening) { self.finish(.success(opening)) }

    func opening(_ opening: StreamOpening, didFail failure: ProxyFailure) {
        self.finish(.failure(StreamFailure(failure)))
    }

    private func finish(_ result: Result<StreamOpening, StreamFailure>) {
        self.cycle = nil
        self.opening = nil
        self.completion(result)
    }
}
