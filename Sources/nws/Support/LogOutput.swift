//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOConcurrencyHelpers

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Writes log lines to standard error, and leaves lines out while its reader does not keep up. A log that nobody reads must
/// not stop the traffic.
final class LogOutput: Sendable {
    /// The longest line in bytes. A pipe that accepts anything accepts this much without blocking (PIPE_BUF).
    private static let maximumLine = 4_096

    private let descriptor: Int32
    /// Number of lines that were left out since the last one that was written. The lock is held while a line is written,
    /// so that what poll() has promised stays true.
    private let leftOut = NIOLockedValueBox(0)

    static let standardError = LogOutput(descriptor: 2)

    init(descriptor: Int32) { self.descriptor = descriptor }

    /// Writes a line, unless it would block.
    func write(_ line: String) {
        self.leftOut.withLockedValue { leftOut in
            guard self.isWritable else {
                leftOut += 1
                return
            }
            if leftOut > 0 {
                let count = leftOut
                leftOut = 0
                Console.write("\(count) log lines were left out, because nobody read the log\n", to: self.descriptor)
                guard self.isWritable else {
                    leftOut = count + 1
                    return
                }
            }
            let bytes = Array(line.utf8)
            guard bytes.count < Self.maximumLine else {
                let start = String(decoding: bytes.prefix(Self.maximumLine - 8), as: UTF8.self)
                _ = Console.write(start + " …\n", to: self.descriptor)
                return
            }
            _ = Console.write(line + "\n", to: self.descriptor)
        }
    }

    private var isWritable: Bool {
        var request = pollfd(fd: self.descriptor, events: Int16(POLLOUT), revents: 0)
        return unsafe poll(&request, 1, 0) > 0
    }
}
