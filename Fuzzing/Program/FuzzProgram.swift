//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import FuzzTargets

@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ body: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// Runs libFuzzer on one of the targets: `nws-fuzz TARGET [libFuzzer options] [corpus folders]`.
@main
struct FuzzProgram {
    nonisolated(unsafe) private static var target: FuzzTarget?

    static func main() {
        var arguments = CommandLine.arguments
        guard arguments.count > 1, let target = FuzzTarget(rawValue: arguments[1]) else {
            print("usage: nws-fuzz TARGET [libFuzzer options] [corpus folders]")
            print("targets: \(FuzzTarget.allCases.map(\.rawValue).joined(separator: " "))")
            exit(64)
        }
        Self.target = target
        arguments.remove(at: 1)
        var count = CInt(arguments.count)
        var pointers = arguments.map { strdup($0) } + [nil]
        let result = pointers.withUnsafeMutableBufferPointer { buffer in
            var base = buffer.baseAddress!
            return runDriver(&count, &base) { bytes, length in
                FuzzProgram.target?.run(Array(UnsafeBufferPointer(start: bytes, count: length)))
                return 0
            }
        }
        exit(result)
    }
}
