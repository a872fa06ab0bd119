//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import Yams

/// A YAML configuration file whose keys are names of settings.
package struct ConfigurationFile {
    /// A setting in the file.
    package struct Setting: Hashable, Sendable {
        /// The key.
        package let name: String
        /// The values: one for a scalar, any number for a list or mapping. A mapping gives `key=value` for each entry.
        package let values: [String]
        /// The line of the key, starting at 1; 0 if unknown.
        package let line: Int
    }

    /// Maximum length of a file in bytes.
    package static let maximumLength = 1 << 20

    /// The path of the file.
    package let path: String
    /// The settings in the order of the file.
    package let settings: [Setting]

    /// Reads and parses a file.
    ///
    /// - Throws: ``SettingsFileError`` if the file cannot be read, is too long or invalid, or every user may write it.
    package init(path: String) throws {
        try FileOwnership.checkNotWritableByAll(path)
        guard let data = FileManager.default.contents(atPath: path) else {
            throw SettingsFileError("cannot read \(path): check that the file exists and is readable")
        }
        guard data.count <= Self.maximumLength, let text = String(data: data, encoding: .utf8) else {
            throw SettingsFileError("\(path): must be UTF-8 text of at most \(Self.maximumLength) bytes")
        }
        self.settings = try Self.parse(text, path: path)
        self.path = path
    }

    /// Parses the text of a file.
    ///
    /// A setting has the form `name: value`, `name: [value, …]`, or `name: {key: value, …}`, which is the same as
    /// `name: [key=value, …]`.
    ///
    /// - Parameter path: The name of the file in errors.
    /// - Throws: ``SettingsFileError`` if the text is not YAML or not of this form.
    package static func parse(_ text: String, path: String) throws -> [Setting] {
        let root: Node?
        do {
            root = try Yams.compose(yaml: text)
        } catch {
            throw SettingsFileError("\(path): invalid YAML: \(Self.short(error))")
        }
        guard let root else { return [] }
        if case .scalar(let scalar) = root, scalar.string.isEmpty { return [] }
        guard case .mapping(let mapping) = root else {
            throw SettingsFileError("\(path): must consist of lines of the form 'option: value'")
        }
        return try mapping.map { key, value in
            let line = key.mark?.line ?? 0
            guard case .scalar(let name) = key else {
                throw SettingsFileError("\(path), line \(line): a key must be the name of an option")
            }
            let values = try Self.values(value, of: name.string, where: "\(path), line \(line)")
            return Setting(name: name.string, values: values, line: line)
        }
    }

    private static func values(_ node: Node, of name: String, where place: String) throws -> [String] {
        func scalar(_ node: Node) throws -> String {
            guard case .scalar(let scalar) = node else {
                throw SettingsFileError("\(place): \(name) has a value that is neither text nor a number")
            }
            return scalar.string
        }
        switch node {
        case .scalar: return [try scalar(node)]
        case .sequence(let sequence): return try sequence.map(scalar)
        case .mapping(let mapping): return try mapping.map { "\(try scalar($0.key))=\(try scalar($0.value))" }
        case .alias: throw SettingsFileError("\(place): YAML aliases are not supported; write out the value of \(name)")
        }
    }

    private static func short(_ error: any Error) -> String {
        "\(error)".split(separator: "\n").prefix(1).joined()
    }
}
