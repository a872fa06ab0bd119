//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Writes lines to standard output and standard error, without buffering.
enum Console {
    /// Writes a line to standard output.
    static func line(_ text: String, terminator: String = "\n") {
        guard !Self.write(text + terminator, to: 1), errno != EPIPE else { return }
        let reason = unsafe String(cString: strerror(errno))
        Self.error("nws: cannot write to standard output: \(reason)")
        exit(Self.outputFailed)
    }

    /// The exit status when standard output cannot be written (sysexits.h: EX_IOERR).
    private static let outputFailed: Int32 = 74

    /// Writes a line to standard error.
    static func error(_ text: String) {
        Self.write(text + "\n", to: 2)
    }

    /// Replaces control characters in untrusted text, so that it cannot send control sequences to a terminal.
    static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { $0.value < 0x20 || (0x7f..<0xa0).contains($0.value) ? "?" : $0 }
            )
        )
    }

    /// Whether a person reads standard output.
    static var isTerminal: Bool { isatty(1) == 1 }

    /// Width of the terminal; nil if standard output is none, or its width is unknown.
    static var columns: Int? {
        var size = winsize()
        guard unsafe ioctl(1, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
        return Int(size.ws_col)
    }

    /// Writes rows with aligned columns to standard output.
    static func table(_ rows: [[String]]) {
        let columns = rows.map(\.count).max() ?? 0
        let widths = (0..<columns).map { column in
            rows.compactMap { $0.indices.contains(column) ? $0[column].count : nil }.max() ?? 0
        }
        for row in rows {
            let cells = row.enumerated().map { index, cell in
                index == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[index] - cell.count)
            }
            Self.line(cells.joined(separator: "  "))
        }
    }

    /// Writes text to a descriptor. Returns false if that fails; `errno` is then set.
    @discardableResult
    static func write(_ text: String, to descriptor: Int32) -> Bool {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let written = unsafe bytes.withUnsafeBytes { buffer in
                unsafe systemWrite(descriptor, buffer.baseAddress, buffer.count)
            }
            if written > 0 {
                bytes = bytes.dropFirst(written)
            } else if errno == EAGAIN, descriptor == 1 {
                // Another process has made the pipe non-blocking.
                var waited = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                _ = unsafe poll(&waited, 1, -1)
            } else if errno != EINTR {
                return false
            }
        }
        return true
    }
}

#if canImport(Glibc)
private let systemWrite = unsafe Glibc.write
#elseif canImport(Musl)
private let systemWrite = unsafe Musl.write
#else
private let systemWrite = unsafe Darwin.write
#endif
