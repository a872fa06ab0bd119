//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import TestSupport
import Testing

@Suite("Items of a common list of relay checks")
struct RelayItemCoverageTests {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()

    private func items() throws -> [String] {
        let text = String(decoding: try TestVectors.data("relay-tester-items.csv"), as: UTF8.self)
        return text.split(whereSeparator: \.isNewline).dropFirst().map { line in
            String(line.prefix(while: { $0 != "," }))
        }
    }

    @Test("every item is covered by exactly one test")
    func everyItem() throws {
        let items = try self.items()
        #expect(items.count > 100)
        let covered = RelayItemCoverage.entries.flatMap(\.items) + RelayItemCoverage.endToEnd
        #expect(covered.sorted() == items.sorted())
    }

    @Test("every test that is said to cover an item exists once")
    func everyTest() throws {
        var source = ""
        for file in try FileManager.default.contentsOfDirectory(at: Self.folder, includingPropertiesForKeys: nil) {
            guard file.pathExtension == "swift", file.lastPathComponent != "RelayItemCoverage.swift" else { continue }
            source += String(decoding: try Data(contentsOf: file), as: UTF8.self)
        }
        for entry in RelayItemCoverage.entries {
            #expect(source.components(separatedBy: "\"\(entry.test)\"").count == 2, "\(entry.test)")
        }
    }

    @Test("the end-to-end tests name the items that they are said to cover, and no others")
    func endToEnd() throws {
        let file = Self.folder.deletingLastPathComponent().appending(path: "EndToEnd/test_relay_conformance.py")
        let source = String(decoding: try Data(contentsOf: file), as: UTF8.self)
        let named = try self.items().filter { source.contains("\"\($0)\"") }
        #expect(named.sorted() == RelayItemCoverage.endToEnd.sorted())
    }
}
