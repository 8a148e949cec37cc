"""EMQX's configuration (5.8 and newer): users for its built-in database, acl.conf, and a fragment of emqx.conf. Pure.

Written after EMQX's documentation; it has not been run against an EMQX. A node's rights come from its user name,
"n-<node id>", so that acl.conf stays as short as EMQX wants it, however many nodes there are. Rights are not bound to
client ids, though EMQX could: a receiver whose session has gone deaf begins a new one under an id of its own making.
"""

import hashlib
from collections.abc import Iterable

from bongsu.receiver.broker_access import Access
from bongsu_wire import topics

CONF, USERS, ACL = "emqx-bongsu.conf", "users.csv", "acl.conf"
_NODE = "${client_attrs.node}"
_SALT_LEN = 16


def configuration(host: str, port: int, tls: tuple[str, str] | None, *, folder: str) -> str:
    """The fragment. `folder`: of the files beside it, as the broker sees it, with its last "/"."""
    where = _quoted(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    kind, crypt = "tcp", ""
    if tls is not None:
        kind = "ssl"
        cert, key = map(_quoted, tls)
        crypt = f'\n  ssl_options {{ certfile = {cert}, keyfile = {key}, versions = ["tlsv1.2"] }}'
    return f"""\
# Written by bongsu; changes made here are lost. Put into emqx.conf: include {_quoted(folder + CONF)}
listeners.{kind}.bongsu {{
  bind = {where}{crypt}
}}
mqtt {{
  max_packet_size = 4KB
  max_inflight = 8192
  max_mqueue_len = 100000
  # A receiver that is away for longer gets a new session; nodes keep their alarms until its receipt.
  session_expiry_interval = 14d
  # A node's id is the second part of its user name; acl.conf uses it.
  client_attrs_init = [{{ expression = "nth(2, tokens(username, '-'))", set_as_attr = "node" }}]
}}
authentication = [
  {{
    mechanism = password_based
    backend = built_in_database
    user_id_type = username
    password_hash_algorithm {{ name = sha256, salt_position = suffix }}
    bootstrap_file = {_quoted(folder + USERS)}
    bootstrap_type = hash
  }}
]
authorization {{
  no_match = deny
  deny_action = ignore
  sources = [ {{ type = file, enable = true, path = {_quoted(folder + ACL)} }} ]
}}
"""


def users_csv(users: Iterable[Access], salts: Iterable[bytes]) -> str:
    """The users, for `bootstrap_file` and for the import of the running broker. `salts`: one a user; the same ones give
    the same file.
    """
    lines = ["user_id,password_hash,salt,is_superuser"]
    for access, salt in zip(users, salts, strict=True):
        text = salt[:_SALT_LEN].hex()
        made = hashlib.sha256((access.password + text).encode()).hexdigest()
        lines.append(f"{access.user},{made},{text},false")
    return "\n".join(lines) + "\n"


def acl(receivers: Iterable[Access]) -> str:
    """acl.conf: one rule for all nodes, and one for each receiver and direction."""
    lines = ["%% Written by bongsu; changes made here are lost."]
    for access in receivers:
        who = f"{{username, {_quoted(access.user)}}}"
        lines += [_rule(who, "publish", access.publish), _rule(who, "subscribe", access.subscribe)]
    who = '{username, {re, "^n-[0-9a-f]{12}$"}}'
    lines.append(_rule(who, "publish", (topics.up_events(_NODE), topics.up_beats(_NODE))))
    lines.append(_rule(who, "subscribe", (topics.down(_NODE),)))
    lines.append("{deny, all}.")
    return "\n".join(lines) + "\n"


def _rule(who: str, action: str, filters: Iterable[str]) -> str:
    names = ", ".join(_quoted(f) for f in filters)
    return f"{{allow, {who}, {action}, [{names}]}}."


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
