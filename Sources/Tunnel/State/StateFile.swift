//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Functions for files that only their owner can read. They are replaced as a whole or appended to.
package enum StateFile {
    /// Atomically replaces the file with one that contains `bytes`. Returns a descriptor for appending.
    ///
    /// If root replaces the file of another user, or creates a file in a folder of another user, the new file belongs to that
    /// user. A service that runs as this user can then read it.
    ///
    /// - Throws: The system's error. The old file is then unchanged.
    static func replace(_ path: String, with bytes: [UInt8], syncs: Bool = true) throws(IOError) -> Int32 {
        let temporary = "\(path).\(getpid()).new"
        let created = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0o600)
        guard created >= 0 else { throw IOError(errnoCode: errno, reason: "open \(temporary)") }
        // Sync before renaming, so that the file is complete after a power failure.
        if geteuid() == 0, let owner = Self.owner(of: path) { _ = fchown(created, owner.user, owner.group) }
        guard Self.append(bytes, to: created), !syncs || fsync(created) == 0, unsafe rename(temporary, path) == 0 else {
            let code = errno
            close(created)
            _ = unsafe unlink(temporary)
            throw IOError(errnoCode: code, reason: "write \(path)")
        }
        return created
    }

    /// The owner of a file, or of its folder if the file does not exist.
    private static func owner(of path: String) -> (user: uid_t, group: gid_t)? {
        var status = stat()
        if unsafe stat(path, &status) == 0 { return (status.st_uid, status.st_gid) }
        let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        guard unsafe stat(folder, &status) == 0 else { return nil }
        return (status.st_uid, status.st_gid)
    }

    /// Atomically replaces the file with one that contains `bytes`.
    ///
    /// - Throws: The system's error. The old file is then unchanged.
    package static func save(_ bytes: [UInt8], to path: String) throws(IOError) {
        close(try Self.replace(path, with: bytes))
    }

    /// Like ``save(_:to:)``, but the file may be lost in a power failure. Does not wait for the disk.
    static func saveWithoutSync(_ bytes: [UInt8], to path: String) throws(IOError) {
        close(try Self.replace(path, with: bytes, syncs: false))
    }

    /// Appends bytes. Returns false if not all of them were written.
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

    /// Calls `body` while holding the lock of the file.
    ///
    /// - Parameters:
    ///   - path: The file.
    ///   - waits: Whether to block until the lock is available. Must be false on an event loop.
    ///   - body: The code to run.
    /// - Throws: `EWOULDBLOCK` if another process holds the lock and `waits` is false, another system error, or the
    ///   error of `body`.
    package static func exclusively<Result>(_ path: String, waits: Bool, _ body: () throws -> Result) throws -> Result {
        let descriptor = try Self.lock(path, waits: waits)
        defer { close(descriptor) }
        return try body()
    }

    /// Locks the file `PATH.lock`. The lock is held until the returned descriptor is closed.
    ///
    /// - Throws: The system's error. It is `EWOULDBLOCK` if another process holds the lock and `waits` is false.
    static func lock(_ path: String, waits: Bool) throws(IOError) -> Int32 {
        let descriptor = unsafe open(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw IOError(errnoCode: errno, reason: "open \(path).lock") }
        // See replace(_:with:syncs:).
        if geteuid() == 0, let owner = Self.owner(of: path) { _ = fchown(descriptor, owner.user, owner.group) }
        guard flock(descriptor, waits ? LOCK_EX : LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            close(descriptor)
            throw IOError(errnoCode: code, reason: "lock \(path)")
        }
        return descriptor
    }
}
