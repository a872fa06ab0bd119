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

/// Setup of the process: file limits and standard descriptors.
enum ProcessSetup {
    /// Whether the configuration is read by a running process. No files are created then.
    @TaskLocal static var isReloading = false

    /// Maximum limit of open files to request.
    private static let descriptors: UInt = 1 << 20

    /// Raises the soft limit of open files to the hard limit, because each stream needs a file descriptor.
    ///
    /// - Returns: The new limit; nil if it cannot be read.
    @discardableResult
    static func raiseFileLimit() -> UInt? {
        var limit = rlimit()
        #if canImport(Glibc)
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        #else
        let resource = RLIMIT_NOFILE
        #endif
        guard unsafe getrlimit(resource, &limit) == 0 else { return nil }
        limit.rlim_cur = min(limit.rlim_max, rlim_t(Self.descriptors))
        _ = unsafe setrlimit(resource, &limit)
        return unsafe getrlimit(resource, &limit) == 0 ? UInt(limit.rlim_cur) : nil
    }

    /// Opens `/dev/null` for those of standard input, output and error that are closed. Otherwise the next socket would
    /// get their number.
    static func openStandardDescriptors() {
        for descriptor in CInt(0)...2 where fcntl(descriptor, F_GETFD) == -1 {
            // open(2) returns the lowest free descriptor, which is this one.
            _ = unsafe open("/dev/null", O_RDWR)
        }
    }

    /// Converts a failure to bind into an error with its exit status.
    static func bindError(_ error: any Error, address: String) -> any Error {
        guard let error = error as? IOError else {
            return CommandError.unavailable("cannot listen on \(address): \(error)")
        }
        switch error.errnoCode {
        case EADDRINUSE: return CommandError.unavailable("cannot listen on \(address): the port is in use")
        case EACCES: return CommandError.unavailable("cannot listen on \(address): permission denied")
        default:
            let reason = unsafe String(cString: strerror(error.errnoCode))
            return CommandError.unavailable("cannot listen on \(address): \(reason)")
        }
    }
}

#if canImport(Glibc)
let endProcess = Glibc.exit
#elseif canImport(Musl)
let endProcess = Musl.exit
#else
let endProcess = Darwin.exit
#endif
