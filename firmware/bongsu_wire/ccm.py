"""AES-128-CCM (RFC 3610, L = 2: nonces of 13 bytes), by the means of each interpreter.

Stock MicroPython builds have AES in ECB and CBC only, so there CCM is built from those two: the CBC-MAC is the last
block of a CBC encryption with a zero IV, the key stream is ECB of the counter blocks. On the host it is
`cryptography`'s AESCCM. The RFC's vectors and our own bind both.
"""

NONCE_LEN = 13
KEY_LEN = 16


class AuthError(Exception):
    """The tag does not fit: the frame is forged, damaged, or made with another key."""


try:
    from cryptolib import aes as _aes
except ImportError:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM

    class CcmKey:
        """One AES-128 key, ready to seal and open. `key`: 16 bytes; `tag_len`: 4..16 bytes, even (8 on the wire)."""

        def __init__(self, key: bytes, tag_len: int = 8) -> None:
            if len(key) != KEY_LEN:
                raise ValueError("an AES-128 key has 16 bytes")
            self.tag_len = tag_len
            self._ccm = AESCCM(key, tag_length=tag_len)

        def seal(self, nonce: bytes, header: bytes, plain: bytes) -> bytes:
            """Return ciphertext + tag. `header` is authenticated but not encrypted."""
            return self._ccm.encrypt(nonce, plain, header)

        def open(self, nonce: bytes, header: bytes, sealed: bytes) -> bytes:
            """Return the plaintext of ciphertext + tag. Raises AuthError if anything differs."""
            try:
                return self._ccm.decrypt(nonce, sealed, header)
            except InvalidTag:
                raise AuthError from None
            except ValueError:  # shorter than a tag
                raise AuthError from None

else:
    _ECB = 1
    _CBC = 2
    _ZERO = bytes(16)

    class CcmKey:  # type: ignore[no-redef]
        """One AES-128 key, ready to seal and open. `key`: 16 bytes; `tag_len`: 4..16 bytes, even (8 on the wire)."""

        def __init__(self, key: bytes, tag_len: int = 8) -> None:
            if len(key) != KEY_LEN:
                raise ValueError("an AES-128 key has 16 bytes")
            self.tag_len = tag_len
            self._key = bytes(key)
            self._ecb = _aes(self._key, _ECB)

        def _mac(self, nonce: bytes, header: bytes, plain: bytes) -> bytes:
            # B0 (flags, nonce, length), then the header with its length, then the plaintext; each part padded to whole
            # blocks (RFC 3610, 2.2).
            flags = (0x40 if header else 0) | ((self.tag_len - 2) // 2 << 3) | 1
            n = len(plain)
            block = bytes([flags]) + bytes(nonce) + bytes([n >> 8, n & 0xFF])
            if header:
                h = len(header)
                block += bytes([h >> 8, h & 0xFF]) + bytes(header)
                block += bytes(-len(block) % 16)
            block += bytes(plain)
            block += bytes(-len(block) % 16)
            return _aes(self._key, _CBC, _ZERO).encrypt(block)[-16:]  # type: ignore[no-any-return]

        def _stream(self, nonce: bytes, length: int) -> bytes:
            # A0 masks the tag, A1.. the text: one ECB call for all of them.
            head = b"\x01" + bytes(nonce)
            blocks = b"".join([head + bytes([i >> 8, i & 0xFF]) for i in range(1 + (length + 15) // 16)])
            return self._ecb.encrypt(blocks)  # type: ignore[no-any-return]

        def seal(self, nonce: bytes, header: bytes, plain: bytes) -> bytes:
            """Return ciphertext + tag. `header` is authenticated but not encrypted."""
            if len(nonce) != NONCE_LEN:
                raise ValueError("a nonce has 13 bytes")
            stream = self._stream(nonce, len(plain))
            out = bytearray(plain)
            for i in range(len(out)):
                out[i] ^= stream[16 + i]
            tag = self._mac(nonce, header, plain)
            return bytes(out) + bytes([tag[i] ^ stream[i] for i in range(self.tag_len)])

        def open(self, nonce: bytes, header: bytes, sealed: bytes) -> bytes:
            """Return the plaintext of ciphertext + tag. Raises AuthError if anything differs."""
            n = len(sealed) - self.tag_len
            if n < 0 or len(nonce) != NONCE_LEN:
                raise AuthError
            stream = self._stream(nonce, n)
            plain = bytes([sealed[i] ^ stream[16 + i] for i in range(n)])
            tag = self._mac(nonce, header, plain)
            diff = 0
            for i in range(self.tag_len):  # no early exit: the time taken says nothing about the tag
                diff |= tag[i] ^ stream[i] ^ sealed[n + i]
            if diff:
                raise AuthError
            return plain
