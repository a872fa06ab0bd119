//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A time span from the command line, such as `90`, `30m`, `24h` or `7d`.
struct TimeSpan {
    let seconds: Int64

    private static let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800]

    /// A number without a unit is a number of seconds. Returns nil if the text is not a positive time span of at most ten
    /// years.
    init?(_ text: String) {
        var digits = text.lowercased()[...]
        var unit: Int64 = 1
        if let last = digits.last, let factor = Self.units[last] {
            unit = factor
            digits.removeLast()
        }
        guard let number = Int64(digits), number > 0, number <= 3_652 * 86_400 / unit else { return nil }
        self.seconds = number * unit
    }

    /// The span in words, such as `24 hours`.
    static func text(_ seconds: Int64) -> String {
        for (size, word) in [(Int64(86_400), "day"), (3_600, "hour"), (60, "minute")]
        where seconds >= 2 * size || seconds == size {
            let count = seconds / size
            return "\(count) \(word)\(count == 1 ? "" : "s")"
        }
        return "\(seconds) second\(seconds == 1 ? "" : "s")"
    }
}
