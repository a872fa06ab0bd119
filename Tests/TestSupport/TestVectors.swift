//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import Foundation

/// The files in `Tests/Vectors`.
public enum TestVectors {
    private static let folder = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Vectors")

    /// Returns the contents of the file `name`.
    public static func data(_ name: String) throws -> Data {
        try Data(contentsOf: Self.folder.appendingPathComponent(name))
    }

    /// Returns the JSON object in the file `name`; throws if the file contains something else.
    public static func object(_ name: String) throws -> [String: Any] {
        guard let object = try JSONSerialization.jsonObject(with: Self.data(name)) as? [String: Any] else {
            throw CocoaError(.fileReadCorruptFile)
        }
        return object
    }

    /// Returns the JSON array of objects in the file `name`; throws if the file contains something else.
    public static func array(_ name: String) throws -> [[String: Any]] {
        guard let array = try JSONSerialization.jsonObject(with: Self.data(name)) as? [[String: Any]] else {
            throw CocoaError(.fileReadCorruptFile)
        }
        return array
    }
}

extension [String: Any] {
    /// The string of member `key`, or an empty string if there is none.
    public func text(_ key: String) -> String { self[key] as? String ?? "" }
    /// The integer of member `key`, or 0 if there is none.
    public func integer(_ key: String) -> Int { self[key] as? Int ?? 0 }
    /// The array of objects of member `key`, or an empty array if there is none.
    public func objects(_ key: String) -> [[String: Any]] { self[key] as? [[String: Any]] ?? [] }
    /// The object of member `key`, or an empty dictionary if there is none.
    public func object(_ key: String) -> [String: Any] { self[key] as? [String: Any] ?? [:] }
}
