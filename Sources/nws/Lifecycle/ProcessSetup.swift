//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
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

    /// Maximum number of descriptors that are kept for connections to relays, files and event loops.
    private static let reservedDescriptors = 384

    /// Maximum limit of open files to request.
    private static let descriptors: UInt = 1 << 20

    /// Raises the soft limit of open files to the hard limit, because each stream needs a file descriptor.
    ///
    /// - Returns: The new limit; nil if it cannot be read.
    @discardableResult
    static func raiseFileLimit() -> UInt? {
        guard var limit = Self.fileLimit() else { return nil }
        limit.rlim_cur = min(limit.rlim_max, rlim_t(Self.descriptors))
        _ = unsafe setrlimit(Self.fileResource, &limit)
        return Self.fileLimit().map { UInt($0.rlim_cur) }
    }

    #if canImport(Glibc)
    private static let fileResource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    #else
    private static let fileResource = RLIMIT_NOFILE
    #endif

    private static func fileLimit() -> rlimit? {
        var limit = rlimit()
        return unsafe getrlimit(Self.fileResource, &limit) == 0 ? limit : nil
    }

    /// Lowers a limit of connections if the limit of open files is too low for it. Without a free descriptor,
    /// `accept` fails again and again and uses a whole processor, and no connection can be opened.
    ///
    /// - Parameters:
    ///   - wanted: The configured limit.
    ///   - descriptorsEach: Number of descriptors of a connection.
    /// - Returns: The limit that leaves ``reservedDescriptors`` descriptors, or half of all if that is less, for
    ///   everything else.
    static func connectionLimit(_ wanted: Int, descriptorsEach: Int = 1, logger: Logger) -> Int {
        guard let limit = Self.fileLimit() else { return wanted }
        // May be RLIM_INFINITY, which is greater than Int.max.
        let descriptors = Int(clamping: limit.rlim_cur)
        let possible = max(1, (descriptors - min(Self.reservedDescriptors, descriptors / 2)) / descriptorsEach)
        guard possible < wanted else { return wanted }
        // It was logged at the start.
        guard !Self.isReloading else { return possible }
        // A limit that is hardly lower is not worth a warning to a user who has configured nothing.
        logger.log(
            level: possible < wanted / 2 ? .warning : .debug,
            "the limit of open files is too low for the configured number of connections; using a lower number",
            metadata: [
                "open.files": "\(descriptors)", "configured": "\(wanted)", "connections": "\(possible)",
                "remedy": "raise the limit, for example with ulimit -n, or with LimitNOFILE= in a systemd unit",
            ]
        )
        return possible
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
