# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
#
# A Homebrew formula. For a release, set url and sha256 to those of the source archive (RELEASING.md).
class Nws < Formula
  desc "Reach a service at home by its key, over Nostr relays"
  homepage "https://example.org/nws"
  url "https://example.org/nws/nws-0.1.0.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license "MIT"

  depends_on "pkgconf" => :build
  depends_on xcode: ["26.0", :build]
  depends_on macos: :tahoe
  depends_on "openssl@3"
  depends_on "qrencode"
  depends_on "secp256k1"

  uses_from_macos "sqlite"
  uses_from_macos "zlib"

  def install
    system "swift", "build", "--disable-sandbox", "-c", "release", "--product", "nws"
    bin.install ".build/release/nws"
    (man1/"nws.1").write Utils.safe_popen_read(bin/"nws", "manual")
    generate_completions_from_executable(bin/"nws", "completion")
    doc.install Dir["docs/*"]
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/nws version")
    system bin/"nws", "key", "generate", "--key-file", testpath/"key"
  end
end
