//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import Foundation

/// Test vectors and transcripts that live beside the repository, not in it.
///
/// A user's clone does not have them; the tests that need them are then skipped, and say so.
public enum SharedVectors {
    /// Why a test was skipped.
    public static let skipReason = "the shared test vectors are not beside this checkout"

    /// The folder of the vectors: `NWS_VECTORS`, else `../shared/vectors` from the package.
    public static let folder: URL = {
        if let path = ProcessInfo.processInfo.environment["NWS_VECTORS"] { return URL(fileURLWithPath: path) }
        return URL(fileURLWithPath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("shared/vectors")
    }()

    /// Whether the vectors are there.
    public static var areAvailable: Bool { FileManager.default.fileExists(atPath: Self.folder.path) }

    /// The contents of a file.
    public static func data(_ name: String) throws -> Data {
        try Data(contentsOf: Self.folder.appendingPathComponent(name))
    }

    /// A file's JSON object.
    public static func object(_ name: String) throws -> [String: Any] {
        guard let object = try JSONSerialization.jsonObject(with: Self.data(name)) as? [String: Any] else {
            throw CocoaError(.fileReadCorruptFile)
        }
        return object
    }

    /// A file's JSON array of objects.
    public static func array(_ name: String) throws -> [[String: Any]] {
        guard let array = try JSONSerialization.jsonObject(with: Self.data(name)) as? [[String: Any]] else {
            throw CocoaError(.fileReadCorruptFile)
        }
        return array
    }
}

extension [String: Any] {
    /// A member that is text.
    public func text(_ key: String) -> String { self[key] as? String ?? "" }
    /// A member that is an integer.
    public func integer(_ key: String) -> Int { self[key] as? Int ?? 0 }
    /// A member that is a list of objects.
    public func objects(_ key: String) -> [[String: Any]] { self[key] as? [[String: Any]] ?? [] }
    /// A member that is an object.
    public func object(_ key: String) -> [String: Any] { self[key] as? [String: Any] ?? [:] }
}
