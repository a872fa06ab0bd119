//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// A file of environment variables, such as `.env`.
///
/// It consists of `NAME=value` lines, with or without `export`, and `#` comments. Values may be quoted; a quoted value
/// may span several lines.
///
/// Several programs can share such a file. An invalid line is ignored and reported in ``problems``. If it concerns a
/// variable of this program, it is an error.
package struct EnvironmentFile {
    /// Maximum length of a file in bytes.
    package static let maximumLength = 1 << 20

    /// The values by name. If a name occurs twice, the last value counts.
    package let values: [String: String]
    /// For each ignored line, its position and what is wrong with it.
    package let problems: [String]

    /// Reads and parses a file. A directory counts as an empty file.
    ///
    /// - Parameter isOwn: Returns whether a name is that of a variable of this program.
    /// - Throws: ``SettingsFileError`` if the file cannot be read or is too long, or a line with a variable of this
    ///   program is invalid.
    package init(path: String, isOwn: (String) -> Bool) throws {
        if (try? URL(filePath: path).resourceValues(forKeys: [.isDirectoryKey]))?.isDirectory == true {
            try self.init(parsing: "", name: path, isOwn: isOwn)
            return
        }
        guard let data = FileManager.default.contents(atPath: path) else {
            throw SettingsFileError("cannot read \(path): check that the file is readable")
        }
        guard data.count <= Self.maximumLength else {
            throw SettingsFileError("\(path): must have at most \(Self.maximumLength) bytes")
        }
        try self.init(parsing: String(decoding: data, as: UTF8.self), name: path, isOwn: isOwn)
    }

    /// Parses the text of a file.
    ///
    /// - Parameters:
    ///   - name: The name of the file in errors and problems.
    ///   - isOwn: Returns whether a name is that of a variable of this program.
    /// - Throws: ``SettingsFileError`` if a line with a variable of this program is invalid.
    package init(parsing text: String, name: String, isOwn: (String) -> Bool) throws {
        var values: [String: String] = [:]
        var problems: [String] = []
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).map(String.init)
        var index = 0
        while index < lines.count {
            let number = index + 1
            var line = lines[index].trimmingCharacters(in: .whitespaces)
            index += 1
            if line.isEmpty || line.hasPrefix("#") { continue }
            line = Self.withoutExport(line)
            guard let equals = line.firstIndex(of: "="), equals > line.startIndex else {
                guard !isOwn(line) else { throw SettingsFileError("\(name), line \(number): expected NAME=value") }
                problems.append("\(name), line \(number): expected NAME=value")
                continue
            }
            let key = line[..<equals].trimmingCharacters(in: .whitespaces)
            let value = line[line.index(after: equals)...].trimmingCharacters(in: .whitespaces)
            guard let quote = value.first, quote == "\"" || quote == "'" else {
                let comment = value.range(of: " #")?.lowerBound ?? value.endIndex
                values[key] = value[..<comment].trimmingCharacters(in: .whitespaces)
                continue
            }
            if let quoted = Self.quoted(value, quote, lines, &index, isOwn) {
                values[key] = quoted
            } else {
                guard !isOwn(key) else { throw SettingsFileError("\(name), line \(number): the quote is not closed") }
                problems.append("\(name), line \(number): the quote is not closed")
            }
        }
        self.values = values
        self.problems = problems
    }

    private static func withoutExport(_ line: String) -> String {
        let line = line.trimmingCharacters(in: .whitespaces)
        return line.hasPrefix("export ") ? String(line.dropFirst(7)).trimmingCharacters(in: .whitespaces) : line
    }

    /// Returns a quoted value without its quotes.
    ///
    /// Returns nil if there is no closing quote before the end of the text, or before a line that sets a variable of
    /// this program.
    ///
    /// - Parameter next: The index of the line after the value's first line; advanced past its last line.
    private static func quoted(
        _ first: String,
        _ quote: Character,
        _ lines: [String],
        _ next: inout Int,
        _ isOwn: (String) -> Bool
    ) -> String? {
        let rest = first.dropFirst()
        if let close = rest.firstIndex(of: quote) { return String(rest[..<close]) }
        var value = String(rest)
        for index in next..<lines.count {
            // A missing closing quote of another variable must not hide a variable of this program.
            let name = Self.withoutExport(lines[index]).prefix { $0 != "=" }.trimmingCharacters(in: .whitespaces)
            if lines[index].contains("="), isOwn(name) { return nil }
            if let close = lines[index].firstIndex(of: quote) {
                next = index + 1
                return value + "\n" + lines[index][..<close]
            }
            value += "\n" + lines[index]
        }
        return nil
    }
}
