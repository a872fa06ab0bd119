//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import Nostr
import NostrCrypto

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A secret key in a file that only its owner can read.
struct KeyFile {
    let path: String

    /// The user's home directory; nil if it is unknown.
    static func home(_ environment: [String: String] = ProcessInfo.processInfo.environment) -> String? {
        if let home = environment["HOME"], home.hasPrefix("/") { return home }
        // Without HOME, use the home directory of the user database.
        guard let entry = unsafe getpwuid(getuid()), let home = unsafe entry.pointee.pw_dir else { return nil }
        return unsafe String(cString: home)
    }

    /// The folder for keys and state: `$XDG_STATE_HOME/nws`, for root ``systemFolder``, else `~/.local/state/nws`.
    ///
    /// Root uses the folder of a system service, so that `sudo nws devices` lists the devices of that service. A HOME that
    /// is not root's own is respected.
    static func stateFolder(_ environment: [String: String] = ProcessInfo.processInfo.environment) -> String {
        // The XDG Base Directory Specification requires relative paths to be ignored.
        if let path = environment["XDG_STATE_HOME"], path.hasPrefix("/") { return path + "/nws" }
        let home = Self.home(environment) ?? "/"
        if getuid() == 0, ["/", "/root", "/var/root", "/var/empty"].contains(home) { return Self.systemFolder }
        return home + "/.local/state/nws"
    }

    /// The state folder of system services.
    #if os(Linux)
    static let systemFolder = "/var/lib/nws"
    #else
    static let systemFolder = "/var/db/nws"
    #endif

    /// The default key file, in the state folder.
    static func stateFile() -> KeyFile { KeyFile(path: Self.stateFolder() + "/key") }

    var exists: Bool { FileManager.default.fileExists(atPath: self.path) }

    /// Reads the key: nsec or 64 hex digits.
    func read() throws -> SecretKey {
        let text = try SecretFile.read(self.path, source: "key file")
        return try Self.parse(text, source: "the key file \(self.path)")
    }

    /// Creates the file with a new key. Fails if the file exists.
    func create() throws -> SecretKey {
        let key = SecretKey.generate()
        try self.create(with: key)
        return key
    }

    /// Creates the file with a key. Fails if the file exists, unless it contains the same key.
    func create(with key: SecretKey) throws {
        if self.exists, try self.read().publicKey == key.publicKey { return }
        let folder = self.path.lastIndex(of: "/").map { String(self.path[..<$0]) } ?? ""
        if !folder.isEmpty { try Self.makeFolder(folder) }
        let descriptor = unsafe open(self.path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw CommandError.configuration("cannot create the key file \(self.path): \(Self.lastError())")
        }
        defer { close(descriptor) }
        let bytes = Array((try NIP19.nsec(key.exposeBytes()).encoded + "\n").utf8)
        guard unsafe write(descriptor, bytes, bytes.count) == bytes.count, fsync(descriptor) == 0 else {
            throw CommandError.configuration("cannot write the key file \(self.path): \(Self.lastError())")
        }
    }

    /// Creates a folder that only its owner can access, unless it exists.
    static func makeFolder(_ folder: String) throws {
        do {
            try FileManager.default.createDirectory(
                atPath: folder,
                withIntermediateDirectories: true,
                attributes: [.posixPermissions: 0o700]
            )
        } catch {
            throw CommandError.configuration("cannot create the folder \(folder): \(errorReason(error))")
        }
    }

    /// Reads the key, or creates it if the file does not exist.
    func readOrCreate() throws -> SecretKey {
        guard !self.exists else { return try self.read() }
        do {
            return try self.create()
        } catch {
            // Another process has created it meanwhile.
            guard self.exists else { throw error }
            return try self.read()
        }
    }

    /// Locks the key file until the process ends, so that a second exit with the same file does not start.
    func lock() throws {
        let descriptor = unsafe open(self.path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw CommandError.configuration("cannot open the key file \(self.path): \(Self.lastError())")
        }
        try Self.lock(descriptor, "key file \(self.path)")
    }

    /// Locks a key until the process ends, so that no second exit with the same key and state folder starts.
    ///
    /// The lock is a file in the state folder, so it also works for a key that is not from a key file.
    static func lock(_ key: PublicKey) throws {
        let folder = Self.stateFolder()
        // If the state folder cannot be created, the key is not locked. A warning has been logged.
        guard (try? Self.makeFolder(folder)) != nil else { return }
        let descriptor = unsafe open("\(folder)/exit-\(key.hex.prefix(16)).lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return }
        try Self.lock(descriptor, "key \(key.npub)")
    }

    /// Locks a file. The descriptor stays open, because closing it would release the lock.
    private static func lock(_ descriptor: Int32, _ what: String) throws {
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw CommandError.unavailable(
                "another exit (nws share or nws exit) is running with \(what); stop it first. nws exit can use another key (--key-file)"
            )
        }
    }

    /// Parses a secret key: nsec or 64 hex digits. Errors never contain the key.
    static func parse(_ text: String, source: String) throws -> SecretKey {
        var bytes: Bytes32?
        if text.utf8.count == 64 { bytes = Bytes32(hex: text) }
        if case .nsec(let secret)? = try? NIP19(text) { bytes = secret }
        guard let bytes, let key = try? SecretKey(bytes) else {
            throw CommandError.configuration("\(source) must contain a secret key (nsec1… or 64 hex digits)")
        }
        return key
    }

    private static func lastError() -> String { unsafe String(cString: strerror(errno)) }
}
