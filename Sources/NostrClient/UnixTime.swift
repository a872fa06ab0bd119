//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// The wall clock, for comparison with `created_at`.
package enum UnixTime {
    /// Seconds since 1970.
    package static var now: Int64 { Int64(Date().timeIntervalSince1970) }
}
