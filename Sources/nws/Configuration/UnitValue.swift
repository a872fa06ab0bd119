//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A value with a unit, such as `2M` bytes or `3m`, as the plain number that an option takes.
enum UnitValue {
    /// What an option counts. The raw value is the name of its value in the help.
    enum Kind: String {
        case bytes
        case seconds
    }

    /// Powers of 1,024, as in other servers' configurations.
    private static let sizes: [Character: Int] = ["k": 1 << 10, "m": 1 << 20, "g": 1 << 30]

    /// Returns the number. Nil if the text has no unit, or is not a value of this kind.
    static func number(_ text: String, _ kind: Kind) -> String? {
        switch kind {
        case .seconds:
            guard text.last?.isNumber == false else { return nil }
            return TimeSpan(text).map { "\($0.seconds)" }
        case .bytes:
            var rest = text.lowercased()[...]
            for suffix in ["ib", "b"] where rest.hasSuffix(suffix) {
                rest = rest.dropLast(suffix.count)
                break
            }
            guard let unit = rest.last.flatMap({ Self.sizes[$0] }), let number = Int(rest.dropLast()), number >= 0
            else {
                return nil
            }
            let (bytes, overflows) = number.multipliedReportingOverflow(by: unit)
            return overflows ? nil : "\(bytes)"
        }
    }

    /// Replaces the values with a unit in the arguments of a command.
    static func resolved(_ arguments: [String], of command: OptionCatalog.Command) -> [String] {
        var arguments = arguments
        var expected: Kind?
        for (index, argument) in arguments.enumerated() {
            if argument == "--" { break }
            if let kind = expected { arguments[index] = Self.number(argument, kind) ?? argument }
            expected = nil
            guard argument.hasPrefix("--") else { continue }
            let parts = argument.dropFirst(2).split(separator: "=", maxSplits: 1).map(String.init)
            guard let name = parts.first, let option = command.option(name),
                let kind = option.valueName.flatMap(Kind.init(rawValue:))
            else { continue }
            if parts.count == 1 {
                expected = kind
            } else if let number = Self.number(parts[1], kind) {
                arguments[index] = "--\(name)=\(number)"
            }
        }
        return arguments
    }
}
