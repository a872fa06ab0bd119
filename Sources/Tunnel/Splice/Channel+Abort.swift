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

extension Channel {
    /// Closes immediately. A socket is closed with RST, so that a truncated stream does not look complete. A pipe has no
    /// equivalent and is closed normally.
    func abort() {
        if let socket = self as? any SocketOptionProvider, self.remoteAddress != nil {
            socket.setSoLinger(linger(l_onoff: 1, l_linger: 0)).whenComplete { _ in }
        }
        self.close(promise: nil)
    }
}
