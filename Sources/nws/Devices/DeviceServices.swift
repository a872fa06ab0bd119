//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The services to which a device is limited, as ports separated by commas.
struct DeviceServices {
    let ports: Set<UInt16>

    /// - Throws: If the text is not a list of ports.
    init(_ text: String, option: String) throws {
        let ports = text.split(separator: ",", omittingEmptySubsequences: false).map {
            UInt16($0.trimmingPrefix(while: \.isWhitespace))
        }
        guard !ports.isEmpty, ports.allSatisfy({ $0 ?? 0 > 0 }) else {
            throw CommandError.failure("\(option): \(text): needs ports, for example 22,80")
        }
        self.ports = Set(ports.compactMap { $0 })
    }
}
