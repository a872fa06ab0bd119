//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// A file of variables: `NAME=value` lines, `#` comments, an optional `export`, optional quotes, within which a value may go
/// over several lines.
///
/// Such files belong to many programs. What is not understood is passed over and told of, unless it is about a variable that
/// is ours.
public struct EnvironmentFile {
    /// Bytes of the longest file that is read.
    public static let maximumLength = 1 << 20

    /// Values by name; of a name that stands there twice, the last.
    public let values: [String: String]
    /// Lines that were passed over, in words.
    public let problems: [String]

    /// - Parameter isOwn: Whether a variable is ours.
    /// - Throws: ``SettingsFileError``.
    public init(path: String, isOwn: (String) -> Bool) throws {
        if (try? URL(filePath: path).resourceValues(forKeys: [.isDirectoryKey]))?.isDirectory == true {
            try self.init(parsing: "", name: path, isOwn: isOwn)
            return
        }
        guard let data = FileManager.default.contents(atPath: path) else {
            throw SettingsFileError("cannot read \(path) in the working directory")
        }
        guard data.count <= Self.maximumLength else {
            throw SettingsFileError("\(path) in the working directory has more than \(Self.maximumLength) bytes")
        }
        try self.init(parsing: String(decoding: data, as: UTF8.self), name: path, isOwn: isOwn)
    }

    /// - Parameters:
    ///   - name: What errors call the file.
    ///   - isOwn: Whether a variable is ours.
    /// - Throws: ``SettingsFileError``.
    public init(parsing text: String, name: String, isOwn: (String) -> Bool) throws {
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

    /// What stands between quotes that begin a value; nil if they are not closed before a
    /// variable of ours.
    ///
    /// - Parameter next: The line behind the value's first one; moved behind its last.
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
            // A quote that was forgotten must not swallow what is ours.
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
