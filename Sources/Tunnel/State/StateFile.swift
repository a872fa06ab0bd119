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
    /// If root creates or replaces a file in a folder of another user, the file belongs to that user, so that a service that
    /// runs as this user can read it.
    ///
    /// - Parameter mode: The permissions of the file.
    /// - Throws: The system's error. The old file is then unchanged.
    static func replace(
        _ path: String,
        with bytes: [UInt8],
        syncs: Bool = true,
        mode: UInt32 = 0o600
    ) throws(IOError) -> Int32 {
        let (folder, name) = try Self.openFolder(of: path)
        defer { close(folder) }
        let temporary = "\(name).\(getpid()).new"
        // The owner of the folder may have put a link there. A leftover has the same number only by chance.
        _ = unsafe unlinkat(folder, temporary, 0)
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_APPEND | O_CLOEXEC
        let created = unsafe openat(folder, temporary, flags, 0o600)
        guard created >= 0 else { throw IOError(errnoCode: errno, reason: "open \(path).new") }
        Self.giveToOwner(created, folder: folder, name: name)
        // Sync before renaming, so that the file is complete after a power failure.
        guard Self.append(bytes, to: created), fchmod(created, mode_t(mode)) == 0, !syncs || fsync(created) == 0,
            unsafe renameat(folder, temporary, folder, name) == 0
        else {
            let code = errno
            close(created)
            _ = unsafe unlinkat(folder, temporary, 0)
            throw IOError(errnoCode: code, reason: "write \(path)")
        }
        return created
    }

    /// Opens the folder of a file. The name is then looked up in this folder, even if the path changes meanwhile.
    private static func openFolder(of path: String) throws(IOError) -> (descriptor: Int32, name: String) {
        let slash = path.lastIndex(of: "/")
        let folder = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
        let descriptor = unsafe open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw IOError(errnoCode: errno, reason: "open \(folder)") }
        return (descriptor, name)
    }

    /// Gives a file that this process has just created to the owner of its folder, or in a folder of root to the owner of the
    /// file that it replaces. Does nothing unless this process runs as root.
    private static func giveToOwner(_ descriptor: Int32, folder: Int32, name: String) {
        guard geteuid() == 0 else { return }
        var status = stat()
        guard unsafe fstat(folder, &status) == 0 else { return }
        if status.st_uid == 0 {
            // Only root can create files in this folder, so the owner of the file can be trusted.
            guard unsafe fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return }
        }
        _ = fchown(descriptor, status.st_uid, status.st_gid)
    }

    /// Atomically replaces the file with one that contains `bytes`.
    ///
    /// - Parameter mode: The permissions of the file.
    /// - Throws: The system's error. The old file is then unchanged.
    package static func save(_ bytes: [UInt8], to path: String, mode: UInt32 = 0o600) throws(IOError) {
        close(try Self.replace(path, with: bytes, mode: mode))
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
        let (folder, name) = try Self.openFolder(of: path)
        defer { close(folder) }
        let file = name + ".lock"
        let flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC
        var descriptor = unsafe openat(folder, file, flags | O_CREAT | O_EXCL, 0o600)
        if descriptor >= 0 {
            Self.giveToOwner(descriptor, folder: folder, name: file)
        } else if errno == EEXIST {
            descriptor = unsafe openat(folder, file, flags)
        }
        guard descriptor >= 0 else { throw IOError(errnoCode: errno, reason: "open \(path).lock") }
        guard flock(descriptor, waits ? LOCK_EX : LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            close(descriptor)
            throw IOError(errnoCode: code, reason: "lock \(path)")
        }
        return descriptor
    }
}
