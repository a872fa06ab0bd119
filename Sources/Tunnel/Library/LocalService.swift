//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A service that is implemented in the program's own code. Each stream that a client opens is served in its own task.
public final class LocalService: Sendable {
    /// Serves one stream. When the function returns, the sending direction is finished. When it throws, the stream is
    /// reset. The task is cancelled if the stream ends with an error. The stream counts towards the limit on streams
    /// until the function has returned.
    public typealias Handler = @Sendable (TunnelStream) async throws -> Void

    let handler: Handler

    /// Creates a service from the function that serves each stream.
    public init(_ handler: @escaping Handler) {
        self.handler = handler
    }

    /// Runs the handler in a task. `onReturn` is called after the handler has returned or thrown an error.
    func serve(_ stream: TunnelStream, onReturn: @escaping @Sendable () -> Void) -> Task<Void, Never> {
        Task {
            do {
                try await self.handler(stream)
                try await stream.finish()
            } catch {
                try? await stream.reset()
            }
            onReturn()
        }
    }
}

extension LocalService: Hashable {
    public static func == (left: LocalService, right: LocalService) -> Bool { left === right }

    public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}
