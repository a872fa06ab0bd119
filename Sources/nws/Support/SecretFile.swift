//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// A short secret in a file that only its owner can read.
enum SecretFile {
    /// Maximum size of the file in bytes.
    private static let maximumLength = 4_096

    /// Returns a short message for a Foundation error: that of the underlying system error, if it is known.
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

    /// Reads a secret, without surrounding whitespace.
    ///
    /// - Parameter source: The option or a description of the file, for error messages.
    static func read(_ path: String, source: String) throws -> String {
        let resolved = URL(fileURLWithPath: path).resolvingSymlinksInPath().path
        let attributes: [FileAttributeKey: Any]
        do {
            attributes = try FileManager.default.attributesOfItem(atPath: resolved)
        } catch {
            throw CommandError.configuration("\(source): cannot read \(path): \(Self.reason(error))")
        }
        guard attributes[.type] as? FileAttributeType == .typeRegular else {
            throw CommandError.configuration("\(source): \(path) is not a regular file")
        }
        // systemd grants access to credentials by an access control list, which appears as group permissions.
        let handedOn = ProcessInfo.processInfo.environment["CREDENTIALS_DIRECTORY"].map {
            !$0.isEmpty && path.hasPrefix($0 + "/")
        }
        let others = handedOn == true ? 0o037 : 0o077
        guard let mode = attributes[.posixPermissions] as? Int, mode & others == 0 else {
            throw CommandError.configuration(
                "\(source): \(path) is accessible by other users; run: chmod 600 '\(path)'"
            )
        }
        guard let data = FileManager.default.contents(atPath: path), data.count <= Self.maximumLength else {
            throw CommandError.configuration(
                "\(source): \(path) must be readable and have at most \(Self.maximumLength) bytes"
            )
        }
        return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
