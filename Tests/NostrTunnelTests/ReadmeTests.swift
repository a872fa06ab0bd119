//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NIOCore
import NostrTunnel
import Testing

/// The code of the README, compiled but not run: its names are examples.
private func readme() async throws {
    let client = try await TunnelClient.start(relays: ["wss://relay.example"])
    let stream = try await client.connect(to: "npub1…", port: 80)
    try await stream.write("GET / HTTP/1.0\r\n\r\n".utf8)
    for try await bytes in stream { print(String(buffer: bytes)) }
}

@Suite("The README")
struct ReadmeTests {
    @Test("its Swift code is the code of this file")
    func codeIsCompiled() throws {
        let file = URL(fileURLWithPath: #filePath)
        let root = file.deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let readme = try String(contentsOf: root.appendingPathComponent("README.md"), encoding: .utf8)
        // The first Swift block is of Package.swift.
        let blocks = readme.components(separatedBy: "```swift\n").dropFirst()
        let block = try #require(blocks.first { $0.hasPrefix("import NostrTunnel") })
        let code = try #require(block.components(separatedBy: "```").first)
        func lines(_ text: String) -> [String] {
            text.components(separatedBy: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
                .filter { !$0.isEmpty && !$0.hasPrefix("import ") }
        }
        let compiled = lines(try String(contentsOf: file, encoding: .utf8))
        let start = try #require(compiled.firstIndex(of: "private func readme() async throws {")) + 1
        let shown = lines(code)
        #expect(shown.count == 4)
        #expect(Array(compiled[start..<(start + shown.count)]) == shown)
    }
}
