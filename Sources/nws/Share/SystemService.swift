//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// The service that starts `nws share` at boot: its file, and the commands that enable and disable it.
struct SystemService {
    /// The program that starts services.
    enum Manager {
        case systemd
        case launchd

        /// The service manager of this operating system.
        static var current: Manager {
            #if os(Linux)
            .systemd
            #else
            .launchd
            #endif
        }
    }

    /// The name of the service.
    static let name = "nws-share"
    private static let label = "org.nws.share"

    let manager: Manager
    /// Whether the service belongs to the system (root) and not to a user.
    let isSystem: Bool
    /// The user's home directory.
    let home: String
    /// The user's name.
    let user: String
    /// The program and its arguments.
    let command: [String]

    /// The path of the service's file.
    var path: String {
        switch (self.manager, self.isSystem) {
        case (.systemd, true): "/etc/systemd/system/\(Self.name).service"
        case (.systemd, false): "\(self.home)/.config/systemd/user/\(Self.name).service"
        case (.launchd, true): "/Library/LaunchDaemons/\(Self.label).plist"
        case (.launchd, false): "\(self.home)/Library/LaunchAgents/\(Self.label).plist"
        }
    }

    /// The commands that enable and start the service, in order.
    var enabling: [[String]] {
        switch (self.manager, self.isSystem) {
        case (.systemd, true):
            [
                ["systemctl", "daemon-reload"], ["systemctl", "enable", Self.name],
                ["systemctl", "restart", Self.name],
            ]
        case (.systemd, false):
            [
                ["systemctl", "--user", "daemon-reload"], ["systemctl", "--user", "enable", Self.name],
                ["systemctl", "--user", "restart", Self.name],
                // Without it, the services of a user start at login.
                ["loginctl", "enable-linger", self.user],
            ]
        case (.launchd, _): [["launchctl", "load", "-w", self.path]]
        }
    }

    /// The commands that stop and disable the service, in order.
    var disabling: [[String]] {
        switch (self.manager, self.isSystem) {
        case (.systemd, true): [["systemctl", "disable", "--now", Self.name]]
        case (.systemd, false): [["systemctl", "--user", "disable", "--now", Self.name]]
        case (.launchd, _): [["launchctl", "unload", "-w", self.path]]
        }
    }

    /// The command that shows the service's log.
    var log: String {
        switch (self.manager, self.isSystem) {
        case (.systemd, true): "journalctl -u \(Self.name) -f"
        case (.systemd, false): "journalctl --user -u \(Self.name) -f"
        case (.launchd, _): "tail -f \(self.launchdLog)"
        }
    }

    private var launchdLog: String {
        self.isSystem ? "/var/log/\(Self.name).log" : "\(self.home)/Library/Logs/\(Self.name).log"
    }

    /// The text of the service's file.
    var text: String {
        switch self.manager {
        case .systemd: self.unit
        case .launchd: self.propertyList
        }
    }

    /// Whether a target is a socket below /tmp, which a private /tmp would hide.
    private var usesTemporaryFolder: Bool {
        self.command.contains { $0.contains("=unix:/tmp/") || $0.contains("=unix:/var/tmp/") }
    }

    private var unit: String {
        let words = self.command.map(Self.quoted).joined(separator: " ")
        let user =
            self.isSystem
            ? """
            # A user that exists while the service runs, and a folder for its key that only it can read.
            DynamicUser=yes
            StateDirectory=nws
            StateDirectoryMode=0700
            Environment=XDG_STATE_HOME=%S
            CapabilityBoundingSet=
            ProtectHome=read-only
            PrivateDevices=yes
            \(self.usesTemporaryFolder ? "# A service has its socket below /tmp." : "PrivateTmp=yes")

            """ : ""
        return """
            # Written by nws share --install. nws share --uninstall removes it.
            [Unit]
            Description=nws share: services of this machine for invited devices
            Documentation=man:nws(1)
            Wants=network-online.target
            After=network-online.target

            [Service]
            Type=notify
            # The search for relays at the first start may take a while.
            TimeoutStartSec=300
            ExecStart=\(words)
            Restart=always
            RestartSec=5
            WatchdogSec=30
            # Core files would contain keys.
            LimitCORE=0
            NoNewPrivileges=yes
            UMask=0077
            \(user)
            [Install]
            WantedBy=\(self.isSystem ? "multi-user.target" : "default.target")

            """
    }

    /// A word of `ExecStart=` (systemd.service(5)).
    private static func quoted(_ word: String) -> String {
        let escaped = word.replacingOccurrences(of: "\\", with: "\\\\").replacingOccurrences(of: "\"", with: "\\\"")
            .replacingOccurrences(of: "%", with: "%%").replacingOccurrences(of: "$", with: "$$")
        let isPlain = word.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: "/-_.=:,".utf8.contains(byte)
            }
        }
        return isPlain && !word.isEmpty ? word : "\"\(escaped)\""
    }

    private var propertyList: String {
        let arguments = self.command.map { "        <string>\(Self.escaped($0))</string>" }.joined(separator: "\n")
        return """
            <?xml version="1.0" encoding="UTF-8"?>
            <!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
            <plist version="1.0">
            <dict>
                <key>Label</key>
                <string>\(Self.label)</string>
                <key>ProgramArguments</key>
                <array>
            \(arguments)
                </array>
                <key>RunAtLoad</key>
                <true/>
                <key>KeepAlive</key>
                <true/>
                <key>StandardOutPath</key>
                <string>\(Self.escaped(self.launchdLog))</string>
                <key>StandardErrorPath</key>
                <string>\(Self.escaped(self.launchdLog))</string>
            </dict>
            </plist>

            """
    }

    private static func escaped(_ text: String) -> String {
        text.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;")
            .replacingOccurrences(of: ">", with: "&gt;")
    }
}
