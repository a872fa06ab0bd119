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

/// What the system knows about a file's content. It differs after the file was written or replaced.
struct FileVersion: Hashable, Sendable {
    private let inode: UInt64
    private let size: Int64
    /// Time of the last change in seconds since 1970.
    private let seconds: Int64
    private let nanoseconds: Int64

    /// Reads the version of a file. Nil if there is no file.
    ///
    /// - Throws: The system's error if it is not known whether there is a file.
    init?(of path: String) throws(IOError) {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else {
            guard errno == ENOENT || errno == ENOTDIR else { throw IOError(errnoCode: errno, reason: "stat \(path)") }
            return nil
        }
        #if canImport(Darwin)
        let time = status.st_mtimespec
        #else
        let time = status.st_mtim
        #endif
        self.inode = UInt64(status.st_ino)
        self.size = Int64(status.st_size)
        self.seconds = Int64(time.tv_sec)
        self.nanoseconds = Int64(time.tv_nsec)
    }
}
