"""receiver.toml: the receiver's settings, checked as a whole before anything starts. Errors name the file, the setting
and the next step.

Durations are seconds in the file (``*_s``). Paths in the file are relative to the file's folder. Secrets are never in
the file, only the names of the files that hold them.
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

import msgspec

from bongsu.errors import BongsuError

CONFIG_NAME = "receiver.toml"

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
# A node keeps as many (firmware/bongsu_node/config.py).
_ADDRESSES_MAX = 4
_BROKER_URL_STEP = 'Set url = "mqtts://HOST:8883".'


class ConfigError(BongsuError):
    """receiver.toml is missing, not readable, or holds a wrong setting."""


class StoreConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[store] url: SQLAlchemy URL; password_file: holds the database user's password (PostgreSQL)."""

    url: Annotated[str, msgspec.Meta(min_length=1)] = "sqlite:///bongsu.db"
    password_file: str | None = None


class BrokerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[broker] embedded: host, port (0 = the system picks), tls. external: url (mqtt:// or mqtts://; of a cluster a
    list of them), ca_file, server_hostname (the name that nodes ask the certificate for); user and password_file,
    unless `bongsu broker config` writes the broker's files, which gives each receiver a login of its own.
    """

    mode: Literal["embedded", "external"] = "embedded"
    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    port: Port = 8883
    tls: bool = True
    max_store_mb: Annotated[int, msgspec.Meta(ge=16, le=65536)] = 512
    url: str | tuple[str, ...] | None = None
    user: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    server_hostname: str | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of an external broker, the preferred one first."""
        return self.url if isinstance(self.url, tuple) else () if self.url is None else (self.url,)


class SmsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[sms] the HTTP gateway. `body` is sent as JSON (or form) with {phone} {text} {key} {lang} put in; `ref_field` and
    `status_field` name fields of answers.
    """

    url: str
    status_url: str | None = None
    method: Literal["POST", "GET"] = "POST"
    format: Literal["json", "form"] = "json"
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    token_file: str | None = None
    body: dict[str, str] = msgspec.field(default_factory=lambda: {"to": "{phone}", "text": "{text}", "key": "{key}"})
    ref_field: str = "id"
    status_field: str = "status"
    delivered_values: tuple[str, ...] = ("delivered",)
    failed_values: tuple[str, ...] = ("failed", "undeliverable")


class SupervisionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[supervision] silent_after_s: a node that was not seen for so long is a fault; promise 5 wants it under 200 s,
    after a start as well: startup_grace_s is how long nodes then have to be seen. silent_site_share: if so many of a
    site's nodes fall silent together, that is one fault. disk_low_percent, disk_low_mb, disk_full_mb: free space below
    which the first and the second disk fault stand. certificate_days: a certificate that ends within them is a fault.
    queue_max: so much waiting for the receiver is a fault when it lasts.
    """

    silent_after_s: Annotated[int, msgspec.Meta(ge=60, le=190)] = 180
    startup_grace_s: Annotated[int, msgspec.Meta(ge=0, le=180)] = 180
    silent_site_share: Annotated[float, msgspec.Meta(gt=0.5, le=1)] = 0.8
    disk_low_percent: Annotated[float, msgspec.Meta(ge=0, le=100)] = 10.0
    disk_low_mb: Annotated[int, msgspec.Meta(ge=0)] = 1024
    disk_full_mb: Annotated[int, msgspec.Meta(ge=0)] = 200
    certificate_days: Annotated[int, msgspec.Meta(ge=1, le=3650)] = 30
    queue_max: Annotated[int, msgspec.Meta(ge=1)] = 2000


class DispatchConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[dispatch] lease_s, request_timeout_s, retry_cap_s: of one delivery; escalate_after_s: the next contact is told
    if nobody was reached; workers: requests at once, at most a quarter of them at one station or gateway.
    """

    lease_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0
    request_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=30)] = 3.0
    retry_first_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 1.0
    retry_cap_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 60.0
    escalate_after_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 64


class RetentionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[retention] days after which records are removed: alarms_days (with restores, and their incidents and deliveries;
    NFPC 207 wants a year at least, as of the audit), faults_days, tests_days, audit_days, refused_days (counts of
    refused frames), commands_days (orders to nodes); air_raw_days (readings of the air as they came), air_hours_days
    (their sums by the hour, and advisories), air_days_days (by the day). What is open stays, however old.
    """

    alarms_days: Annotated[int, msgspec.Meta(ge=365, le=36500)] = 1095
    faults_days: Annotated[int, msgspec.Meta(ge=30, le=36500)] = 365
    tests_days: Annotated[int, msgspec.Meta(ge=7, le=36500)] = 90
    audit_days: Annotated[int, msgspec.Meta(ge=365, le=36500)] = 1825
    refused_days: Annotated[int, msgspec.Meta(ge=1, le=36500)] = 90
    commands_days: Annotated[int, msgspec.Meta(ge=1, le=36500)] = 90
    # Readings may come a day late, and the sums of their hour are made from all of that hour's.
    air_raw_days: Annotated[int, msgspec.Meta(ge=3, le=36500)] = 7
    air_hours_days: Annotated[int, msgspec.Meta(ge=365, le=36500)] = 365
    air_days_days: Annotated[int, msgspec.Meta(ge=365, le=36500)] = 1825


class ConsoleConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[console] the centre's screen. host, port (0: the system picks one, and it stands in run/console.port); tls
    (unset: on, but for loopback), cert_file and key_file (unset: the receiver's own); session_s: longest session;
    session_idle_s: how long a session without an open page lasts; token_file: lets other machines read /healthz and
    /metrics.
    """

    enabled: bool = True
    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    port: Port = 0
    tls: bool | None = None
    cert_file: str | None = None
    key_file: str | None = None
    session_s: Annotated[int, msgspec.Meta(ge=300, le=7 * 86_400)] = 43_200
    session_idle_s: Annotated[int, msgspec.Meta(ge=60, le=86_400)] = 1_800
    token_file: str | None = None

    @property
    def uses_tls(self) -> bool:
        """Whether it is served by https."""
        return self.tls if self.tls is not None else self.host not in _LOOPBACK


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. `folder` is set by `load`: the data folder, absolute."""

    store: StoreConfig = StoreConfig()
    broker: BrokerConfig = BrokerConfig()
    sms: SmsConfig | None = None
    supervision: SupervisionConfig = SupervisionConfig()
    dispatch: DispatchConfig = DispatchConfig()
    retention: RetentionConfig = RetentionConfig()
    console: ConsoleConfig = ConsoleConfig()
    folder: str = ""

    @property
    def data_dir(self) -> Path:
        """The folder of the configuration file, to which its paths are relative."""
        return Path(self.folder)

    def path(self, name: str) -> Path:
        """A path of the file, made absolute."""
        return self.data_dir / name

    @property
    def store_url(self) -> str:
        """The store's URL with file names made absolute: SQLite's file; the password's file and the CA's of
        PostgreSQL.
        """
        url = self.store.url
        if not url.startswith("sqlite"):
            return self._postgres_url(url)
        match = re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^/].*)", url)
        return f"{match[1]}{self.path(match[2])}" if match and match[2] != ":memory:" else url

    def _postgres_url(self, url: str) -> str:
        url = re.sub(r"(?<=[?&]sslrootcert=)(?!system(?:&|$))([^/&][^&]*)", lambda m: str(self.path(m[1])), url)
        if self.store.password_file is None:
            return url
        name = quote(str(self.path(self.store.password_file)), safe="/")
        return f"{url}{'&' if '?' in url else '?'}bongsu_password_file={name}"


def load(path: Path) -> Config:
    """Read and check a configuration file. Raises ConfigError."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise ConfigError(
            f"cannot read {path}: {err.strerror}", "Name the data folder by --data, or make one: bongsu init --data DIR"
        ) from None
    except UnicodeDecodeError as err:
        raise ConfigError(f"{path} is not UTF-8 (byte {err.start})", "Save the file as UTF-8.") from None
    except tomllib.TOMLDecodeError as err:
        raise ConfigError(f"{path} is not valid TOML: {err}", "Correct the file at that line.") from None
    if "folder" in raw:
        raise ConfigError(f"{path}: unknown setting folder", "Remove it.")
    try:
        config = msgspec.convert(raw, Config, strict=True)
    except msgspec.ValidationError as err:
        raise ConfigError(
            f"{path}: {_readable(str(err))}",
            "Correct this setting; the comments in the file written by `bongsu init` explain each one.",
        ) from None
    problem = _cross_check(config)
    if problem:
        raise ConfigError(f"{path}: {problem[0]}", problem[1])
    return msgspec.structs.replace(config, folder=str(path.resolve().parent))


def _readable(text: str) -> str:
    """msgspec's "Expected `int`, got `str` - at `$.broker.port`" as "[broker] port: expected int, got str"."""
    unknown = re.fullmatch(r"Object contains unknown field `(.+?)`(?: - at `\$\.?(.*?)`)?", text)
    if unknown:
        section = f"[{unknown[2]}] " if unknown[2] else ""
        return f"{section}unknown setting {unknown[1]}"
    match = re.fullmatch(r"(.*?)(?: - at `\$\.(.*)`)?", text, re.DOTALL)
    what = (match[1] if match else text).replace("`", "")
    if not match or not match[2]:
        return what
    section, _, name = match[2].partition(".")
    return f"[{section}] {name}: {what}" if name else f"[{section}]: {what}"


def _cross_check(config: Config) -> tuple[str, str] | None:
    """(what is wrong, next step) of settings that exclude each other."""
    broker = config.broker
    if problem := _console_problem(config.console):
        return problem
    if broker.mode == "embedded":
        if not broker.tls and broker.host not in _LOOPBACK:
            return (
                f"[broker] tls: false is only allowed on loopback, not on {broker.host}",
                'Set tls = true, or host = "127.0.0.1".',
            )
    elif wrong := _broker_problem(broker):
        return wrong
    if config.sms is not None:
        for name, url in (("url", config.sms.url), ("status_url", config.sms.status_url)):
            if url is not None and (bad := _url_problem(url, ("http", "https"))):
                return (
                    f"[sms] {name}: {bad}",
                    "Set the address of the SMS gateway, for example https://sms.example/send.",
                )
    return None


def _broker_problem(broker: BrokerConfig) -> tuple[str, str] | None:
    """Of an external broker's settings."""
    if not broker.urls:
        return '[broker] url: missing, and mode is "external"', _BROKER_URL_STEP
    if len(broker.urls) > _ADDRESSES_MAX:
        return f"[broker] url: names more than {_ADDRESSES_MAX} addresses", "Name the members that nodes shall use."
    for url in broker.urls:
        if problem := _url_problem(url, ("mqtt", "mqtts")):
            return f"[broker] url: {problem}", _BROKER_URL_STEP
        if urlsplit(url).scheme == "mqtt" and urlsplit(url).hostname not in _LOOPBACK:
            return "[broker] url: mqtt:// without TLS is only allowed on loopback", "Use mqtts://."
    if len({urlsplit(url).scheme for url in broker.urls}) > 1:
        return "[broker] url: some addresses are mqtt://, others mqtts://", "Use mqtts:// for all."
    if broker.password_file is not None and broker.user is None:
        return "[broker] password_file: names a password, but there is no user", "Set user, or remove password_file."
    return None


def _console_problem(console: ConsoleConfig) -> tuple[str, str] | None:
    if not console.uses_tls and console.host not in _LOOPBACK:
        return (
            f"[console] tls: false is only allowed on loopback, not on {console.host}",
            'Set tls = true, or host = "127.0.0.1".',
        )
    if (console.cert_file is None) != (console.key_file is None):
        return "[console] cert_file and key_file belong together", "Set both, or neither."
    return None


def _url_problem(url: str, schemes: tuple[str, ...]) -> str | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "not a URL"
    if parts.scheme not in schemes:
        return f"must begin with {' or '.join(s + '://' for s in schemes)}"
    if not parts.hostname:
        return "names no host"
    if parts.password is not None:
        return "holds a password; put it into a file and name that"
    return None
