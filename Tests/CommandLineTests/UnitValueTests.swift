//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Testing

@testable import nws

@Suite("Values with units")
struct UnitValueTests {
    @Test(
        "sizes have units of powers of 1,024",
        arguments: [
            ("2M", "2097152"), ("2m", "2097152"), ("64k", "65536"), ("1G", "1073741824"), ("64KiB", "65536"),
            ("2MB", "2097152"),
            ("100", nil), ("", nil), ("M", nil), ("-1M", nil), ("1.5M", nil), ("99999999999999G", nil), ("2T", nil),
        ] as [(String, String?)]
    )
    func sizes(text: String, number: String?) { #expect(UnitValue.number(text, .bytes) == number) }

    @Test(
        "times have units of seconds",
        arguments: [("3m", "180"), ("2h", "7200"), ("5s", "5"), ("7", nil), ("0", nil), ("m", nil)]
            as [(String, String?)]
    )
    func times(text: String, number: String?) { #expect(UnitValue.number(text, .seconds) == number) }

    @Test("values are understood on the command line, in variables and in files alike")
    func places() throws {
        let catalog = try OptionCatalog()
        let layered = try LayeredArguments(
            ["relay", "--max-message-length", "1M", "--name=2M", "--max-event-length=64k"],
            environment: ["NWS_MAX_OUTBOUND_BYTES": "16M"],
            catalog: catalog
        )
        #expect(
            layered.ofCommand == [
                "--max-message-length", "1048576", "--name=2M", "--max-event-length=65536",
                "--max-outbound-bytes=16777216",
            ]
        )
        let exit = try LayeredArguments(["exit", "--session-timeout", "3m"], environment: [:], catalog: catalog)
        #expect(exit.ofCommand == ["--session-timeout", "180"])
    }
}
