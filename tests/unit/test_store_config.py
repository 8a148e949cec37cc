"""receiver.toml: every wrong setting is refused with its place."""

import re
from pathlib import Path

import pytest

from bongsu.channels.wiring import sms_gateway
from bongsu.receiver import config
from bongsu.receiver.init_data import CONFIG_TEXT


def _load(tmp_path: Path, text: str) -> config.Config:
    path = tmp_path / "receiver.toml"
    path.write_text(text, encoding="utf-8")
    return config.load(path)


def test_written_file_loads_with_the_defaults(tmp_path: Path) -> None:
    loaded = _load(tmp_path, CONFIG_TEXT.format(host="127.0.0.1"))
    assert loaded.broker == config.BrokerConfig() and loaded.dispatch == config.DispatchConfig()
    assert loaded.store_url == f"sqlite:///{tmp_path}/bongsu.db"
    assert loaded.data_dir == tmp_path


def test_commented_settings_are_true_ones(tmp_path: Path) -> None:
    """Each commented-out line of the written file is accepted when it is put in."""
    text = CONFIG_TEXT.format(host="127.0.0.1").replace('mode = "embedded"', 'mode = "external"')
    loaded = _load(tmp_path, re.sub(r"^# (\w+ = |\[)", r"\1", text, flags=re.MULTILINE))
    assert loaded.broker.url == "mqtts://broker.example:8883"
    assert loaded.sms is not None and loaded.sms.headers == {"authorization": "Bearer {token}"}
    (tmp_path / "sms.token").write_text("t")
    assert sms_gateway(loaded, loaded.sms).status_url == "https://sms.example/status/{ref}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[broker]\nport = 'x'", r"\[broker\] port: Expected int, got str"),
        ("[broker]\nport = 70000", r"\[broker\] port: .*65535"),
        ("[broker]\nprot = 1", r"\[broker\] unknown setting prot"),
        ("[brokers]\nport = 1", r"unknown setting brokers"),
        ("[broker]\nmode = 'other'", r"\[broker\] mode"),
        ("[broker]\nhost = '0.0.0.0'\ntls = false", r"\[broker\] tls: false is only allowed on loopback"),
        ("[broker]\nmode = 'external'", r"\[broker\] url: missing"),
        ("[broker]\nmode = 'external'\nurl = 'http://x'", r"\[broker\] url: must begin with mqtt"),
        ("[broker]\nmode = 'external'\nurl = 'mqtts://u:pw@x'", r"holds a password"),
        ("[broker]\nmode = 'external'\nurl = 'mqtt://far.example'", r"without TLS"),
        ("[supervision]\nsilent_after_s = 300", r"\[supervision\] silent_after_s"),
        ("[supervision]\nstartup_grace_s = 181", r"\[supervision\] startup_grace_s"),
        ("[dispatch]\nretry_cap_s = 0", r"\[dispatch\] retry_cap_s"),
        ("[sms]", r"missing required field url"),
        ("[sms]\nurl = 'ftp://x'", r"\[sms\] url: must begin with http"),
        ("[sms]\nurl = 'http://x'\nstatus_url = 'x'", r"\[sms\] status_url"),
        ("[store]\nurl = 5", r"\[store\] url"),
        ("folder = '/x'", r"unknown setting folder"),
        ("[broker\n", r"not valid TOML: .*line 1"),
    ],
)
def test_wrong_settings(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(config.ConfigError, match=says) as caught:
        _load(tmp_path, text)
    assert str(tmp_path / "receiver.toml") in caught.value.message and caught.value.next_step
    assert "pw" not in caught.value.message


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="No such file"):
        config.load(tmp_path / "receiver.toml")
    (tmp_path / "receiver.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(config.ConfigError, match="not UTF-8"):
        config.load(tmp_path / "receiver.toml")


@pytest.mark.parametrize(
    ("url", "made"), [("sqlite:////a/b.db", "sqlite:////a/b.db"), ("postgresql://x/y", "postgresql://x/y")]
)
def test_absolute_urls_stay(tmp_path: Path, url: str, made: str) -> None:
    assert _load(tmp_path, f"[store]\nurl = '{url}'").store_url == made
