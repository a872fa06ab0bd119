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

/// Standard input and output as descriptors that an event loop can wait for. Regular files are none, so threads carry their
/// bytes through pipes.
final class StandardPipes {
    /// The loop owns them.
    let input: CInt
    let output: CInt
    private let flags: [(CInt, CInt)]
    private let inputCopy: Copy?
    private let outputCopy: Copy?

    /// A thread that carries bytes.
    private final class Copy: Sendable {
        let isDone = DispatchSemaphore(value: 0)
        /// The system's number of what went wrong.
        let error = NIOLockedValueBox<CInt?>(nil)
    }

    /// - Throws: ``CommandError`` if there are no descriptors left.
    init() throws {
        // The flags of descriptors belong to whoever shares them, a terminal's other programs for instance.
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

    /// Waits until everything is where it belongs, once the loop has closed its ends.
    ///
    /// - Returns: What kept bytes from being read or written.
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
        // Pipes, sockets and terminals have no position.
        lseek(descriptor, 0, SEEK_CUR) >= 0
    }

    private static func makePipe() throws -> (read: CInt, write: CInt) {
        var ends: [CInt] = [0, 0]
        guard unsafe pipe(&ends) == 0 else { throw CommandError.failure("cannot make a pipe: too many open files") }
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
                // Nobody who reads any more is no mishap: the stream ended first, and says how.
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
