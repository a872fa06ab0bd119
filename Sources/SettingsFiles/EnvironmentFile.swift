//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// A file of variables: `NAME=value` lines, `#` comments, an optional `export`, optional quotes.
public struct EnvironmentFile {
    /// Values by name; of a name that stands there twice, the last.
    public let values: [String: String]

    /// - Throws: ``SettingsFileError``.
    public init(path: String) throws {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw SettingsFileError("cannot read \(path) in the working directory")
        }
        try self.init(parsing: text, name: path)
    }

    /// - Parameter name: What errors call the file.
    /// - Throws: ``SettingsFileError``.
    public init(parsing text: String, name: String) throws {
        var values: [String: String] = [:]
        for (index, raw) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            var line = raw.trimmingCharacters(in: .whitespaces)
            if line.isEmpty || line.hasPrefix("#") { continue }
            if line.hasPrefix("export ") { line = String(line.dropFirst(7)).trimmingCharacters(in: .whitespaces) }
            guard let equals = line.firstIndex(of: "="), equals > line.startIndex else {
                throw SettingsFileError("\(name), line \(index + 1): expected NAME=value")
            }
            let key = line[..<equals].trimmingCharacters(in: .whitespaces)
            var value = line[line.index(after: equals)...].trimmingCharacters(in: .whitespaces)
            if let quote = value.first, quote == "\"" || quote == "'" {
                guard let close = value.dropFirst().firstIndex(of: quote) else {
                    throw SettingsFileError("\(name), line \(index + 1): the quote is not closed")
                }
                value = String(value[value.index(after: value.startIndex)..<close])
            } else if let comment = value.range(of: " #") {
                value = value[..<comment.lowerBound].trimmingCharacters(in: .whitespaces)
            }
            values[key] = value
        }
        self.values = values
    }
}
