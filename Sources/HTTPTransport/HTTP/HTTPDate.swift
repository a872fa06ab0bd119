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

/// Formats and parses HTTP dates such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
enum HTTPDate {
    private static let format = "%a, %d %b %Y %H:%M:%S GMT"
    /// Length in bytes of a date with a four-digit year.
    private static let length = 29

    /// The current time of the system clock.
    static var now: String { Self.text(of: Int64(time(nil))) }

    /// Formats a time.
    ///
    /// - Parameter seconds: Seconds since 1970.
    /// - Returns: The date, or an empty string if the year is after 9999.
    static func text(of seconds: Int64) -> String {
        guard var seconds = time_t(exactly: seconds) else { return "" }
        var parts = unsafe tm()
        guard unsafe gmtime_r(&seconds, &parts) != nil else { return "" }
        return unsafe String(unsafeUninitializedCapacity: Self.length + 1) { buffer in
            unsafe buffer.withMemoryRebound(to: CChar.self) { buffer in
                // `strftime` writes English names, because the program never changes the C locale.
                unsafe strftime(buffer.baseAddress, buffer.count, Self.format, &parts)
            }
        }
    }

    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// Parses a date and returns seconds since 1970.
    ///
    /// Returns nil for malformed dates and for the two obsolete formats.
    static func seconds(of text: String) -> Int64? {
        guard text.utf8.count == Self.length else { return nil }
        let words = text.split(separator: " ")
        guard words.count == 6, let month = Self.months.firstIndex(of: String(words[2])) else { return nil }
        let numbers = ([words[1], words[3]] + words[4].split(separator: ":")).compactMap { CInt($0) }
        // `CInt` also parses signs, so negative numbers are rejected here.
        guard numbers.count == 5, numbers.allSatisfy({ (0...9_999).contains($0) }) else { return nil }
        var parts = unsafe tm()
        unsafe parts.tm_mday = numbers[0]
        unsafe parts.tm_mon = CInt(month)
        unsafe parts.tm_year = numbers[1] - 1_900
        unsafe parts.tm_hour = numbers[2]
        unsafe parts.tm_min = numbers[3]
        unsafe parts.tm_sec = numbers[4]
        let seconds = unsafe Int64(timegm(&parts))
        // `timegm` normalizes dates that do not exist, such as 31 February. Formatting the result then gives another
        // date.
        return Self.text(of: seconds) == text ? seconds : nil
    }
}
