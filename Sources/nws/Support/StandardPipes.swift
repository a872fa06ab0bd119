//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NIOConcurrencyHelpers

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Standard input and output as descriptors that an event loop can poll.
///
/// Regular files cannot be polled, so threads copy them to or from pipes.
final class StandardPipes {
    /// Descriptors for the event loop, which closes them.
    let input: CInt
    let output: CInt
    private let flags: [(CInt, CInt)]
    private let inputCopy: Copy?
    private let outputCopy: Copy?

    /// The state of a thread that copies bytes.
    private final class Copy: Sendable {
        let isDone = DispatchSemaphore(value: 0)
        /// The `errno` of a failed read or write.
        let error = NIOLockedValueBox<CInt?>(nil)
    }

    /// - Throws: ``CommandError`` if standard input or output is closed, or no more files can be opened.
    init() throws {
        // Other processes can share these flags, for example those of a terminal. `finish()` restores them.
        self.flags = [0, 1].map { ($0, fcntl($0, F_GETFL)) }
        if Self.isRegular(0) {
            let pipe = try Self.makePipe()
            let copy = Copy()
            self.input = pipe.read
            self.inputCopy = copy
            Thread.detachNewThread { Self.run(copy, from: 0, to: pipe.write) }
        } else {
            self.input = try Self.duplicate(0)
            self.inputCopy = nil
        }
        if Self.isRegular(1) {
            let pipe = try Self.makePipe()
            let copy = Copy()
            self.output = pipe.write
            self.outputCopy = copy
            Thread.detachNewThread { Self.run(copy, from: pipe.read, to: 1) }
        } else {
            self.output = try Self.duplicate(1)
            self.outputCopy = nil
        }
    }

    /// Waits until all output is written, after the event loop has closed its descriptors.
    ///
    /// - Returns: The error that stopped reading or writing, if any.
    func finish() async -> CommandError? {
        if let outputCopy {
            await withCheckedContinuation { continuation in
                Thread.detachNewThread {
                    outputCopy.isDone.wait()
                    continuation.resume()
                }
            }
        }
        for (descriptor, flags) in self.flags where flags >= 0 { _ = fcntl(descriptor, F_SETFL, flags) }
        for (copy, name) in [(self.inputCopy, "standard input"), (self.outputCopy, "standard output")] {
            guard let number = copy?.error.withLockedValue({ $0 }) else { continue }
            return CommandError.failure("\(name): \(unsafe String(cString: strerror(number)))")
        }
        return nil
    }

    private static func isRegular(_ descriptor: CInt) -> Bool {
        // Pipes, sockets and terminals are not seekable.
        lseek(descriptor, 0, SEEK_CUR) >= 0
    }

    private static func makePipe() throws -> (read: CInt, write: CInt) {
        var ends: [CInt] = [0, 0]
        guard unsafe pipe(&ends) == 0 else { throw CommandError.failure("cannot create a pipe: too many open files") }
        return (ends[0], ends[1])
    }

    private static func duplicate(_ descriptor: CInt) throws -> CInt {
        let copy = dup(descriptor)
        guard copy >= 0 else {
            throw CommandError.failure("standard \(descriptor == 0 ? "input" : "output") is closed")
        }
        return copy
    }

    private static func run(_ copy: Copy, from source: CInt, to sink: CInt) {
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = unsafe read(source, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            if count < 0 { copy.error.withLockedValue { $0 = errno } }
            guard count > 0 else { break }
            var start = 0
            while start < count {
                let written = unsafe buffer[start..<count].withUnsafeBytes {
                    unsafe write(sink, $0.baseAddress, $0.count)
                }
                if written < 0, errno == EINTR { continue }
                // EPIPE is not an error here: the stream has ended, and its end is reported instead.
                if written < 0, errno != EPIPE { copy.error.withLockedValue { $0 = errno } }
                guard written > 0 else { break }
                start += written
            }
            if start < count { break }
        }
        close(source)
        close(sink)
        copy.isDone.signal()
    }
}
