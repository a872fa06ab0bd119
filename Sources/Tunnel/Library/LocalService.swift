//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A service in the program's own code: each stream that a client opens is a task of its own.
public final class LocalService: Sendable {
    /// Serves one stream. When it returns, the sending side is finished; when it throws, the stream is reset. Its task is cancelled
    /// when the stream broke off, and counts against the limit of streams until it returned.
    public typealias Handler = @Sendable (TunnelStream) async throws -> Void

    let handler: Handler

    public init(_ handler: @escaping Handler) {
        self.handler = handler
    }

    /// Runs the handler to its end, which `onReturn` hears of. The stream's end cancels it.
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
