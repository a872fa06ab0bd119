//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A file that only its owner can read, replaced as a whole or appended to.
enum StateFile {
    /// Puts a new file with these bytes in place of the old one, and returns it open for appending.
    ///
    /// - Throws: The system's error.
    static func replace(_ path: String, with bytes: [UInt8]) throws(IOError) -> Int32 {
        let temporary = path + ".new"
        let created = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0o600)
        guard created >= 0 else { throw IOError(errnoCode: errno, reason: "open \(temporary)") }
        guard Self.append(bytes, to: created), unsafe rename(temporary, path) == 0 else {
            let code = errno
            close(created)
            throw IOError(errnoCode: code, reason: "write \(path)")
        }
        return created
    }

    /// Appends bytes; false if not all could be written.
    static func append(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let written = unsafe rest.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
            if written > 0 {
                rest = rest.dropFirst(written)
            } else if errno != EINTR {
                return false
            }
        }
        return true
    }
}
