//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import Testing

@testable import nws

@Suite("The installed service")
struct SystemServiceTests {
    private static func service(
        _ manager: SystemService.Manager,
        isSystem: Bool = false,
        _ arguments: [String] = ["22"]
    ) -> SystemService {
        SystemService(
            manager: manager,
            isSystem: isSystem,
            home: "/home/me",
            user: "me",
            command: ["/usr/bin/nws", "share"] + arguments
        )
    }

    private static func start(_ arguments: [String]) -> String? {
        Self.service(.systemd, arguments).text.split(separator: "\n").first { $0.hasPrefix("ExecStart=") }.map(
            String.init
        )
    }

    @Test("arguments are quoted as systemd reads them")
    func quoting() {
        #expect(Self.start(["22", "80=8080"]) == "ExecStart=/usr/bin/nws share 22 80=8080")
        #expect(Self.start(["80=unix:/a b"]) == "ExecStart=/usr/bin/nws share \"80=unix:/a b\"")
        #expect(Self.start(["a%b$c\"d\\"]) == "ExecStart=/usr/bin/nws share \"a%%b$$c\\\"d\\\\\"")
        #expect(Self.start([""]) == "ExecStart=/usr/bin/nws share \"\"")
    }

    @Test("a user's service starts at boot and not at login; a system service has a user of its own")
    func systemd() {
        let own = Self.service(.systemd)
        #expect(own.path == "/home/me/.config/systemd/user/nws-share.service")
        #expect(own.enabling.last == ["loginctl", "enable-linger", "me"])
        #expect(own.text.contains("WantedBy=default.target") && !own.text.contains("DynamicUser"))
        let system = Self.service(.systemd, isSystem: true)
        #expect(system.path == "/etc/systemd/system/nws-share.service")
        #expect(system.text.contains("WantedBy=multi-user.target") && system.text.contains("DynamicUser=yes"))
        // The folder that root's commands use.
        #expect(system.text.contains("StateDirectory=nws\n") && system.text.contains("XDG_STATE_HOME=%S\n"))
        #expect(system.enabling.allSatisfy { !$0.contains("--user") })
    }

    @Test("the property list of launchd is valid, whatever the arguments are")
    func launchd() throws {
        let service = Self.service(.launchd, ["80=unix:/a&b<c>\""])
        let list = try unsafe PropertyListSerialization.propertyList(from: Data(service.text.utf8), format: nil)
        let arguments = (list as? [String: Any])?["ProgramArguments"] as? [String]
        #expect(arguments == ["/usr/bin/nws", "share", "80=unix:/a&b<c>\""])
        #expect(service.path == "/home/me/Library/LaunchAgents/org.nws.share.plist")
    }
}
