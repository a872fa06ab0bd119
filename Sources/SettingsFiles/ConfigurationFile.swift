//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import Yams

/// A YAML file whose keys are the options of one role.
public struct ConfigurationFile {
    /// A key with its values; one for everything but lists.
    public struct Setting: Hashable, Sendable {
        public let name: String
        public let values: [String]
        /// Where the key stands; 1 is the first.
        public let line: Int
    }

    /// Bytes of the longest file that is read.
    public static let maximumLength = 1 << 20

    public let path: String
    /// In the order of the file.
    public let settings: [Setting]

    /// - Throws: ``SettingsFileError``.
    public init(path: String) throws {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw SettingsFileError("cannot read the configuration file \(path)")
        }
        guard data.count <= Self.maximumLength, let text = String(data: data, encoding: .utf8) else {
            throw SettingsFileError("\(path) is no text of at most \(Self.maximumLength) bytes")
        }
        self.settings = try Self.parse(text, path: path)
        self.path = path
    }

    /// `name: value`, `name: [values]`, and `name: {key: value}` for options of the form `key=value`.
    ///
    /// - Throws: ``SettingsFileError``.
    public static func parse(_ text: String, path: String) throws -> [Setting] {
        let root: Node?
        do {
            root = try Yams.compose(yaml: text)
        } catch {
            throw SettingsFileError("\(path) is not YAML: \(Self.short(error))")
        }
        guard let root else { return [] }
        if case .scalar(let scalar) = root, scalar.string.isEmpty { return [] }
        guard case .mapping(let mapping) = root else {
            throw SettingsFileError("\(path): expected lines of the form 'option: value'")
        }
        return try mapping.map { key, value in
            let line = key.mark?.line ?? 0
            guard case .scalar(let name) = key else {
                throw SettingsFileError("\(path), line \(line): expected the name of an option")
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
        case .alias: throw SettingsFileError("\(place): aliases are not supported")
        }
    }

    private static func short(_ error: any Error) -> String {
        "\(error)".split(separator: "\n").prefix(1).joined()
    }
}
