"""Mosquitto's configuration: mosquitto.conf, a password file of salted hashes, and the ACL file. Pure: text out.

Mosquitto cannot bind a user to a client id; that they are secret has to do. What an ACL denies it acknowledges all the
same, which is one more reason why a node believes the receiver's receipt only.
"""

import base64
import hashlib
from collections.abc import Iterable

from bongsu.receiver.broker_access import Access

CONF, PASSWORDS, ACL = "mosquitto.conf", "passwords", "acl"
# As mosquitto_passwd makes them (version 2): PBKDF2 with SHA-512. Our passwords have 144 bits and more, which no number
# of rounds makes safer, and the broker spends them at every connection of every node after a power cut.
_ROUNDS = 101
_HASH_LEN, _SALT_LEN = 64, 12
_MAX_INFLIGHT = 8192
_MAX_QUEUED = 100_000
_MAX_PACKET = 4 * 1024


def configuration(host: str, port: int, tls: tuple[str, str] | None, *, folder: str, max_store_mb: int) -> str:
    """The text of mosquitto.conf. `folder`: of the files beside it, as the broker sees it, with its last "/"."""
    crypt = ""
    if tls is not None:
        crypt = f"certfile {tls[0]}\nkeyfile {tls[1]}\ntls_version tlsv1.2\n"
    return f"""\
# Written by bongsu at every change of the registry; changes made here are lost.
listener {port} {host}
{crypt}allow_anonymous false
password_file {folder}{PASSWORDS}
acl_file {folder}{ACL}
# What waits for a receiver that is away. It need not be kept: a node keeps its alarm until the receiver's receipt.
persistence false
persistent_client_expiration 14d
max_inflight_messages {_MAX_INFLIGHT}
max_queued_messages {_MAX_QUEUED}
max_packet_size {_MAX_PACKET}
memory_limit {max_store_mb * 1024 * 1024}
set_tcp_nodelay true
"""


def passwords(users: Iterable[Access], salts: Iterable[bytes]) -> str:
    """The password file. `salts`: one a user; the same ones give the same file."""
    return "".join(
        f"{access.user}:{hashed(access.password, salt)}\n" for access, salt in zip(users, salts, strict=True)
    )


def hashed(password: str, salt: bytes) -> str:
    """One password as Mosquitto keeps it: $7$ rounds $ salt $ hash."""
    made = hashlib.pbkdf2_hmac("sha512", password.encode(), salt[:_SALT_LEN], _ROUNDS, _HASH_LEN)
    text = [base64.b64encode(part).decode() for part in (salt[:_SALT_LEN], made)]
    return f"$7${_ROUNDS}${text[0]}${text[1]}"


def acl(users: Iterable[Access]) -> str:
    """The ACL file: what is not named is denied."""
    return "# Written by bongsu; changes made here are lost.\n" + "".join(map(_user, users))


def _user(access: Access) -> str:
    write = "".join(f"topic write {name}\n" for name in access.publish if name not in access.subscribe)
    both = "".join(f"topic readwrite {name}\n" for name in access.publish if name in access.subscribe)
    read = "".join(f"topic read {name}\n" for name in access.subscribe if name not in access.publish)
    return f"\nuser {access.user}\n{write}{both}{read}"
