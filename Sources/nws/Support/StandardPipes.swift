//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

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
    private let outputIsCopied: DispatchSemaphore?

    init() throws {
        // The flags of descriptors belong to whoever shares them, a terminal's other programs for instance.
        self.flags = [0, 1].map { ($0, fcntl($0, F_GETFL)) }
        if Self.isRegular(0) {
            let pipe = try Self.pipe()
            self.input = pipe.read
            Thread.detachNewThread { Self.copy(from: 0, to: pipe.write) }
        } else {
            self.input = dup(0)
        }
        if Self.isRegular(1) {
            let pipe = try Self.pipe()
            let isDone = DispatchSemaphore(value: 0)
            self.output = pipe.write
            self.outputIsCopied = isDone
            Thread.detachNewThread {
                Self.copy(from: pipe.read, to: 1)
                isDone.signal()
            }
        } else {
            self.output = dup(1)
            self.outputIsCopied = nil
        }
    }

    /// Waits until everything is where it belongs, once the loop has closed its ends.
    func finish() async {
        if let outputIsCopied {
            await withCheckedContinuation { continuation in
                Thread.detachNewThread {
                    outputIsCopied.wait()
                    continuation.resume()
                }
            }
        }
        for (descriptor, flags) in self.flags where flags >= 0 { _ = fcntl(descriptor, F_SETFL, flags) }
    }

    private static func isRegular(_ descriptor: CInt) -> Bool {
        // Pipes, sockets and terminals have no position.
        lseek(descriptor, 0, SEEK_CUR) >= 0
    }

    private static func pipe() throws -> (read: CInt, write: CInt) {
        var ends: [CInt] = [0, 0]
        guard unsafe Glibc.pipe(&ends) == 0 else { throw CommandError.failure("cannot make a pipe") }
        return (ends[0], ends[1])
    }

    private static func copy(from source: CInt, to sink: CInt) {
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = unsafe read(source, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            var start = 0
            while start < count {
                let written = unsafe buffer[start..<count].withUnsafeBytes {
                    unsafe write(sink, $0.baseAddress, $0.count)
                }
                if written < 0, errno == EINTR { continue }
                guard written > 0 else { break }
                start += written
            }
            if start < count { break }
        }
        close(source)
        close(sink)
    }
}
