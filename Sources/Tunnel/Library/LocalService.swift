//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A service in the program's own code. Each stream that a client opens runs in a task.
public final class LocalService: Sendable {
    /// Serves one stream. When it returns, the sending direction is finished; when it throws, the stream is reset. Its task
    /// is cancelled when the stream ends with an error, and counts against the limit of streams until it returns.
    public typealias Handler = @Sendable (TunnelStream) async throws -> Void

    let handler: Handler

    /// Creates a service from the function that serves each stream.
    public init(_ handler: @escaping Handler) {
        self.handler = handler
    }

    /// Runs the handler in a task. `onReturn` is called when it returned.
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
