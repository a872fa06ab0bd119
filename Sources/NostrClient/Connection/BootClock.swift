//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The time since the machine was started, including the time in suspend. Setting the wall clock does not change it.
enum BootClock {
    /// Whole seconds since the start.
    static var seconds: Int64 {
        var time = timespec()
        #if canImport(Darwin)
        // On Apple platforms, CLOCK_MONOTONIC includes the time in sleep.
        let result = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        #else
        let result = unsafe clock_gettime(CLOCK_BOOTTIME, &time)
        #endif
        return result == 0 ? Int64(time.tv_sec) : 0
    }
}
