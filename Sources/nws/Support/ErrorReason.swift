//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// Returns a short message for a Foundation error: that of the underlying system error, if it is known.
func errorReason(_ error: any Error) -> String {
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
