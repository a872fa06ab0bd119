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
        let temporary = "\(path).\(getpid()).new"
        let created = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0o600)
        guard created >= 0 else { throw IOError(errnoCode: errno, reason: "open \(temporary)") }
        // What the name points to is whole, whenever the power goes.
        guard Self.append(bytes, to: created), fsync(created) == 0, unsafe rename(temporary, path) == 0 else {
            let code = errno
            close(created)
            _ = unsafe unlink(temporary)
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

    /// Does `body` while no other process works on the file.
    ///
    /// - Parameter waits: Whether to wait for others that do; an event loop cannot.
    /// - Throws: `EWOULDBLOCK` if another process has it and `waits` is false, or what `body` throws.
    static func exclusively<Result>(_ path: String, waits: Bool, _ body: () throws -> Result) throws -> Result {
        let descriptor = try Self.lock(path, waits: waits)
        defer { close(descriptor) }
        return try body()
    }

    /// Locks a file's companion for as long as the descriptor is open.
    ///
    /// - Throws: The system's error; `EWOULDBLOCK` if another process has it and `waits` is false.
    static func lock(_ path: String, waits: Bool) throws(IOError) -> Int32 {
        let descriptor = unsafe open(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw IOError(errnoCode: errno, reason: "open \(path).lock") }
        guard flock(descriptor, waits ? LOCK_EX : LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            close(descriptor)
            throw IOError(errnoCode: code, reason: "lock \(path)")
        }
        return descriptor
    }
}
