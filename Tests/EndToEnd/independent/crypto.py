# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Cryptography: BIP-340 keys, NIP-44 with any key and binary plaintexts, ML-KEM-768, and the hashes of section B.1."""

import base64
import binascii
import hashlib
import hmac
import os

from coincurve import PrivateKey, PublicKey, PublicKeyXOnly
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

# Hashes


def length_prefixed(*fields):
    """LP of section B.1. Text is encoded as UTF-8."""
    encoded = [field.encode() if isinstance(field, str) else field for field in fields]
    return b"".join(len(field).to_bytes(4, "big") + field for field in encoded)


def tagged_hash(tag, *fields):
    """TH of section B.1."""
    prefix = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(prefix + prefix + length_prefixed(*fields)).digest()


def hmac_sha256(key, data):
    return hmac.digest(key, data, "sha256")


def hkdf(secret, salt, info, length):
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


# Keys


class Key:
    """A secret key (secp256k1) whose public key is x-only."""

    def __init__(self, secret=None):
        self._key = PrivateKey(secret)
        self.secret = self._key.secret
        self.public = self._key.public_key.format()[1:]

    def sign(self, digest, randomness=None):
        """Signs a hash (BIP-340)."""
        return self._key.sign_schnorr(digest, os.urandom(32) if randomness is None else randomness)

    def shared_x(self, public):
        """Returns the x coordinate of the Diffie-Hellman point, not hashed."""
        return PublicKey(b"\x02" + public).multiply(self.secret).format()[1:]

    def conversation_key(self, public):
        """Returns the NIP-44 conversation key with a peer."""
        return hmac_sha256(b"nip44-v2", self.shared_x(public))


def is_signed(public, digest, signature):
    """Returns whether a BIP-340 signature is valid."""
    try:
        return len(signature) == 64 and PublicKeyXOnly(public).verify(signature, digest)
    except ValueError:
        return False


class KEMKey:
    """A secret key of ML-KEM-768."""

    def __init__(self, seed=None):
        self._key = MLKEM768PrivateKey.generate() if seed is None else MLKEM768PrivateKey.from_seed_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    def decapsulate(self, ciphertext):
        return self._key.decapsulate(ciphertext)


def encapsulate(public):
    """Returns a secret and its ciphertext. Raises ValueError if the public key is not valid."""
    return MLKEM768PublicKey.from_public_bytes(public).encapsulate()


# NIP-44, version 2

MAX_PLAINTEXT = 65_535


def _padded_length(length):
    if length <= 32:
        return 32
    power = 1 << (length - 1).bit_length()
    chunk = max(32, power // 8)
    return -(-length // chunk) * chunk


def _message_keys(key, nonce):
    """Returns the parameters of ChaCha20 (key, counter and nonce), and the key of the MAC."""
    expanded = HKDFExpand(algorithm=SHA256(), length=76, info=nonce).derive(key)
    return (expanded[:32], bytes(4) + expanded[32:44]), expanded[44:]


def _chacha20(keys, data):
    return Cipher(algorithms.ChaCha20(*keys), mode=None).encryptor().update(data)


def encrypt(key, plaintext, nonce=None):
    """Returns a NIP-44 payload. `key` is a conversation key, or another key of 32 bytes."""
    if not 1 <= len(plaintext) <= MAX_PLAINTEXT:
        raise ValueError("the plaintext is empty or too long")
    nonce = nonce or os.urandom(32)
    cipher, mac_key = _message_keys(key, nonce)
    padding = bytes(_padded_length(len(plaintext)) - len(plaintext))
    ciphertext = _chacha20(cipher, len(plaintext).to_bytes(2, "big") + plaintext + padding)
    return base64.b64encode(b"\x02" + nonce + ciphertext + hmac_sha256(mac_key, nonce + ciphertext)).decode()


def decrypt(key, payload):
    """Decrypts a NIP-44 payload. Raises ValueError if it is malformed or was not made with the key."""
    try:
        raw = base64.b64decode(payload, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if len(raw) < 99 or raw[0] != 2:
        raise ValueError("not a payload of version 2")
    nonce, ciphertext, mac = raw[1:33], raw[33:-32], raw[-32:]
    cipher, mac_key = _message_keys(key, nonce)
    if not hmac.compare_digest(mac, hmac_sha256(mac_key, nonce + ciphertext)):
        raise ValueError("the MAC is wrong")
    padded = _chacha20(cipher, ciphertext)
    length = int.from_bytes(padded[:2], "big")
    if length == 0 or len(padded) != 2 + _padded_length(length):
        raise ValueError("the padding is wrong")
    return padded[2 : 2 + length]
