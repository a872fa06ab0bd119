//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

extension Moment {
    /// The current time of both clocks.
    static var now: Moment {
        Moment(monotonic: .now(), seconds: Int64(Date().timeIntervalSince1970))
    }
}
