// swift-tools-version:6.2
//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import PackageDescription

/// House rules of every target: Swift 6 language mode, explicit existentials and imports, no implicit hop off the
/// caller's executor, no unmarked unsafe code, and no warnings.
let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
]

/// Of programs that embed the library, which know only its module.
let embeddingSettings: [SwiftSetting] = [
    .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("MemberImportVisibility"),
    .strictMemorySafety(), .treatAllWarnings(as: .error),
]

/// Of what is no part of the product: C calls need no marks.
let toolSettings: [SwiftSetting] = [
    .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

let nio: (String) -> Target.Dependency = { .product(name: $0, package: "swift-nio") }
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let metrics: Target.Dependency = .product(name: "CoreMetrics", package: "swift-metrics")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let deque: Target.Dependency = .product(name: "DequeModule", package: "swift-collections")
let heap: Target.Dependency = .product(name: "HeapModule", package: "swift-collections")

let package = Package(
    name: "nws",
    platforms: [.macOS(.v26)],
    products: [
        .executable(name: "nws", targets: ["nws"]),
        .library(name: "NostrTunnel", targets: ["NostrTunnel"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
        .package(url: "https://github.com/apple/swift-certificates", from: "1.21.0"),
        .package(url: "https://github.com/apple/swift-asn1", from: "1.7.0"),
    ],
    targets: [
        .systemLibrary(
            name: "CSQLite",
            pkgConfig: "sqlite3",
            providers: [.apt(["libsqlite3-dev"]), .brew(["sqlite3"])]
        ),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        // The system's libsecp256k1. No curve arithmetic is written here.
        .systemLibrary(
            name: "CSecp256k1",
            pkgConfig: "libsecp256k1",
            providers: [.apt(["libsecp256k1-dev"]), .brew(["secp256k1"])]
        ),
        // Ciphers: AES-GCM, ChaCha20.
        .systemLibrary(
            name: "COpenSSL",
            pkgConfig: "libcrypto",
            providers: [.apt(["libssl-dev"]), .brew(["openssl@3"])]
        ),
        // QR codes of invites, with libqrencode if it is installed.
        .target(name: "CQREncode"),
        // Loops over bytes: base64, its compressed form, JSON strings.
        .target(name: "CByteKernels"),
        // Memory statistics of the allocator; arguments of the process.
        .target(name: "CProcess"),
        // Changes of the network and the clock.
        .target(name: "CHostEvents"),
        // Keys, signatures, NIP-44. All secret keys but those of TLS.
        .target(
            name: "NostrCrypto",
            dependencies: ["CSecp256k1", "COpenSSL", "CByteKernels", crypto],
            swiftSettings: settings
        ),
        // Events, filters, messages, NIP-19, URLs. Pure.
        .target(name: "Nostr", dependencies: ["NostrCrypto", "CByteKernels", nio("NIOCore")], swiftSettings: settings),
        // STUN: under which address a node is seen behind a NAT.
        .target(name: "STUN", dependencies: [nio("NIOCore"), deque], swiftSettings: settings),
        // PCP and NAT-PMP: asking a router for a port. Pure.
        .target(name: "PortMapping", dependencies: ["STUN", nio("NIOCore"), deque], swiftSettings: settings),
        // NIP-74, sessions, names, SOCKS. Pure.
        .target(
            name: "TunnelProtocol",
            dependencies: ["STUN", "Nostr", "NostrCrypto", nio("NIOCore"), deque, heap],
            swiftSettings: settings
        ),
        // HTTP/1.1 and WebSocket, server and client.
        .target(
            name: "HTTPTransport",
            dependencies: [
                "CByteKernels", "CHostEvents", "CZlib", "STUN",
                nio("NIOCore"), nio("NIOConcurrencyHelpers"), nio("NIOPosix"), nio("NIOHTTP1"), nio("NIOWebSocket"),
                nioSSL, logging, deque,
            ],
            swiftSettings: settings
        ),
        // Connections to relays: reconnecting, subscriptions, AUTH.
        .target(
            name: "NostrClient",
            dependencies: [
                "Nostr", "NostrCrypto", "HTTPTransport", nio("NIOCore"), nio("NIOPosix"), nioSSL, logging, metrics,
                deque,
            ],
            swiftSettings: settings
        ),
        // The embedded relay.
        .target(
            name: "NostrRelay",
            dependencies: [
                "STUN", "Nostr", "NostrCrypto", "HTTPTransport", nio("NIOCore"), nio("NIOConcurrencyHelpers"),
                nio("NIOPosix"),
                nio("NIOHTTP1"), logging,
                metrics, deque, heap, "CSQLite",
            ],
            swiftSettings: settings
        ),
        // Metrics, and the status page of a node.
        .target(
            name: "Observability",
            dependencies: [
                "HTTPTransport", nio("NIOCore"), nio("NIOConcurrencyHelpers"), nio("NIOHTTP1"), logging, metrics,
            ],
            swiftSettings: settings
        ),
        // Entry and exit.
        .target(
            name: "Tunnel",
            dependencies: [
                "TunnelProtocol", "STUN", "PortMapping", "NostrClient", "Nostr", "NostrCrypto", "HTTPTransport",
                nio("NIOCore"), nio("NIOConcurrencyHelpers"), nio("NIOPosix"), nio("NIOHTTP1"), nioSSL, crypto, logging,
                metrics, deque,
                .product(name: "X509", package: "swift-certificates"),
                .product(name: "SwiftASN1", package: "swift-asn1"),
            ],
            swiftSettings: settings
        ),
        // The API for programs that embed a tunnel.
        .target(
            name: "NostrTunnel",
            dependencies: [
                "Tunnel", "TunnelProtocol", "HTTPTransport", "NostrClient", "Nostr", "NostrCrypto", nio("NIOCore"),
                nio("NIOConcurrencyHelpers"), nio("NIOPosix"), logging,
            ],
            swiftSettings: settings
        ),
        // YAML files of options, files of variables. Pure.
        .target(
            name: "SettingsFiles",
            dependencies: [.product(name: "Yams", package: "Yams")],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "nws",
            dependencies: [
                "SettingsFiles", "Tunnel", "TunnelProtocol", "STUN", "NostrRelay", "NostrClient", "Nostr",
                "NostrCrypto",
                "HTTPTransport",
                "Observability", "CProcess", "CQREncode", nio("NIOCore"), nio("NIOConcurrencyHelpers"),
                nio("NIOPosix"),
                nio("NIOHTTP1"), nioSSL, logging, metrics,
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            resources: [.embedInCode("Resources/public-relays.txt")],
            swiftSettings: settings
        ),

        // Measures all of it (make bench).
        .executableTarget(
            name: "nws-bench",
            dependencies: [
                "TunnelProtocol", "Nostr", "NostrCrypto", "CByteKernels", "HTTPTransport", nio("NIOCore"), deque,
                nio("NIOConcurrencyHelpers"), nio("NIOWebSocket"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "Benchmarks",
            exclude: ["instructions.json"],
            swiftSettings: toolSettings
        ),

        // What is fuzzed; the tests run it over its seeds.
        .target(
            name: "FuzzTargets",
            dependencies: [
                "SettingsFiles", "Tunnel", "TunnelProtocol", "STUN", "PortMapping", "Nostr", "NostrCrypto",
                "HTTPTransport", nio("NIOCore"), nio("NIOEmbedded"), nio("NIOHTTP1"),
            ],
            path: "Fuzzing/Targets",
            swiftSettings: toolSettings
        ),
        .testTarget(
            name: "FuzzTargetTests",
            dependencies: ["FuzzTargets", "TestSupport"],
            swiftSettings: settings
        ),

        // Answers WebSocket messages with themselves, at either end, for the suite of others (make autobahn).
        .executableTarget(
            name: "websocket-echo",
            dependencies: ["HTTPTransport", nio("NIOCore"), nio("NIOPosix"), nio("NIOHTTP1"), logging],
            path: "Tests/Autobahn",
            exclude: ["fuzzingclient.json", "fuzzingserver.json", "requirements.txt", "run.py"],
            swiftSettings: toolSettings
        ),

        // Shared by tests only: vectors, clocks, sockets.
        .target(
            name: "TestSupport",
            dependencies: [nio("NIOCore"), nio("NIOConcurrencyHelpers"), nio("NIOPosix")],
            path: "Tests/TestSupport",
            swiftSettings: settings
        ),
        .testTarget(
            name: "NostrCryptoTests",
            dependencies: ["NostrCrypto", "TestSupport"],
            swiftSettings: settings
        ),
        .testTarget(
            name: "NostrTests",
            dependencies: ["Nostr", "NostrCrypto", "TestSupport", nio("NIOCore")],
            swiftSettings: settings
        ),
        .testTarget(
            name: "STUNTests",
            dependencies: ["STUN", "TestSupport", nio("NIOCore")],
            swiftSettings: settings
        ),
        .testTarget(
            name: "PortMappingTests",
            dependencies: ["PortMapping", "STUN", nio("NIOCore")],
            swiftSettings: settings
        ),
        .testTarget(
            name: "TunnelProtocolTests",
            dependencies: ["TunnelProtocol", "STUN", "Nostr", "NostrCrypto", "TestSupport", nio("NIOCore")],
            swiftSettings: settings
        ),
        .testTarget(
            name: "NostrRelayTests",
            dependencies: [
                "NostrRelay", "Nostr", "NostrCrypto", "HTTPTransport", "TestSupport", nio("NIOConcurrencyHelpers"),
                nio("NIOCore"), nio("NIOEmbedded"), nio("NIOPosix"), logging,
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "HTTPTransportTests",
            dependencies: [
                "HTTPTransport", "TestSupport", nio("NIOCore"), nio("NIOPosix"), nio("NIOHTTP1"), nio("NIOWebSocket"),
                crypto, logging,
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "NostrClientTests",
            dependencies: ["NostrClient", "Nostr", "NostrCrypto", "HTTPTransport", "TestSupport", nio("NIOCore")],
            swiftSettings: settings
        ),
        .testTarget(
            name: "CommandLineTests",
            dependencies: [
                "nws", "Tunnel", "TunnelProtocol", "NostrRelay", "NostrClient", "Nostr", "NostrCrypto", nio("NIOCore"),
                nio("NIOPosix"), logging,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "NostrTunnelTests",
            dependencies: ["NostrTunnel", "NostrRelay", "TestSupport", nio("NIOCore"), nio("NIOPosix"), logging],
            swiftSettings: embeddingSettings
        ),
        .testTarget(
            name: "TunnelTests",
            dependencies: [
                "Tunnel", "TunnelProtocol", "STUN", "NostrRelay", "NostrClient", "Nostr", "NostrCrypto",
                "HTTPTransport",
                "TestSupport",
                nio("NIOCore"), nio("NIOConcurrencyHelpers"), nio("NIOEmbedded"), nio("NIOPosix"), logging, metrics,
                .product(name: "MetricsTestKit", package: "swift-metrics"),
            ],
            swiftSettings: settings
        ),
    ]
)

// Needs libFuzzer, which is linked only where the compiler is told to (make fuzz).
if Context.environment["NWS_FUZZING"] != nil {
    package.targets.append(
        .executableTarget(
            name: "nws-fuzz",
            dependencies: ["FuzzTargets"],
            path: "Fuzzing/Program",
            swiftSettings: toolSettings
        )
    )
}
