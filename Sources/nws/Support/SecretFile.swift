//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// A short secret in a file that only its owner can read.
enum SecretFile {
    /// Most bytes that are read.
    private static let maximumLength = 4_096

    /// What the system said, rather than what the library makes of it.
    static func reason(_ error: any Error) -> String {
        let underlying = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError
        if let posix = error as? POSIXError { return unsafe String(cString: strerror(posix.code.rawValue)) }
        if let underlying, underlying.domain == NSPOSIXErrorDomain {
            return unsafe String(cString: strerror(Int32(underlying.code)))
        }
        switch (error as? CocoaError)?.code {
        case .fileReadNoSuchFile?, .fileNoSuchFile?: return "No such file or directory"
        case .fileReadNoPermission?, .fileWriteNoPermission?: return "Permission denied"
        case .fileWriteOutOfSpace?: return "No space left on device"
        default: return error.localizedDescription
        }
    }

    /// - Parameter source: Names the file in complaints: an option, or what it is.
    static func read(_ path: String, source: String) throws -> String {
        let resolved = URL(fileURLWithPath: path).resolvingSymlinksInPath().path
        let attributes: [FileAttributeKey: Any]
        do {
            attributes = try FileManager.default.attributesOfItem(atPath: resolved)
        } catch {
            throw CommandError.configuration("\(source): cannot read \(path): \(Self.reason(error))")
        }
        guard attributes[.type] as? FileAttributeType == .typeRegular else {
            throw CommandError.configuration("\(source): \(path) is not a file")
        }
        // The service manager hands files on by an access list, which shows as permission of the group.
        let handedOn = ProcessInfo.processInfo.environment["CREDENTIALS_DIRECTORY"].map {
            !$0.isEmpty && path.hasPrefix($0 + "/")
        }
        let others = handedOn == true ? 0o037 : 0o077
        guard let mode = attributes[.posixPermissions] as? Int, mode & others == 0 else {
            throw CommandError.configuration("\(source): \(path) can be read by others; run: chmod 600 '\(path)'")
        }
        guard let data = FileManager.default.contents(atPath: path), data.count <= Self.maximumLength else {
            throw CommandError.configuration("\(source): cannot read \(path), or it is too long for a secret")
        }
        return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
