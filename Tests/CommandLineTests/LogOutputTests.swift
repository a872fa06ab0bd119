//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Testing

@testable import nws

#if canImport(Glibc)
import Glibc
private let systemRead = unsafe Glibc.read
#else
import Darwin
private let systemRead = unsafe Darwin.read
#endif

@Suite("Output of the log")
struct LogOutputTests {
    @Test("lines are left out while nobody reads, and counted afterwards")
    func fullPipe() throws {
        var ends: [Int32] = [0, 0]
        try #require(unsafe pipe(&ends) == 0)
        defer { for end in ends { close(end) } }
        let output = LogOutput(descriptor: ends[1])
        let line = String(repeating: "x", count: 1_000)
        for _ in 0..<1_000 { output.write(line) }
        func read() -> String {
            var bytes = [UInt8](repeating: 0, count: 1 << 20)
            let count = unsafe systemRead(ends[0], &bytes, bytes.count)
            return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
        }
        let first = read()
        #expect(first.count >= 60_000 && first.count < 1_000_000)
        output.write("the last one")
        let rest = read()
        #expect(rest.hasSuffix("the last one\n"))
        #expect(rest.contains("log lines were left out"))
    }
}
