"""A first and a further receiver on PostgreSQL: `bongsu init --database`, `--join`, and the list of receivers."""

import json
from pathlib import Path

import pytest

from tests.postgres_parts import PASSWORD, PASSWORD_USER, Server
from tests.registry_parts import bongsu


@pytest.fixture
def first(tmp_path: Path, postgres: Server) -> Path:
    data, word = tmp_path / "r1", tmp_path / "word"
    word.write_text(PASSWORD + "\n")
    url = postgres.create(migrated=False).replace("//bongsu@", f"//{PASSWORD_USER}@")
    made = bongsu("init", "--data", data, "--database", url, "--database-password-file", word)
    assert made.code == 0, made.err
    return data


def test_a_further_receiver_has_its_own_number_and_no_password_is_copied(first: Path, tmp_path: Path) -> None:
    second = tmp_path / "r2"
    made = bongsu("init", "--data", second, "--join", first / "receiver.toml", "--master-key", first / "master.key",
                  "--ca", first / "ca", "--json")  # fmt: skip
    assert made.code == 0, made.err
    assert json.loads(made.out)["missing"] == ["database.password"] and not (second / "database.password").exists()
    (second / "database.password").write_text(PASSWORD)
    (second / "database.password").chmod(0o600)
    listed = json.loads(bongsu("receiver", "list", "--data", second, "--json").out)
    assert len({row["sender"] for row in listed}) == 2 and {row["state"] for row in listed} == {"never"}
    assert (first / "receiver.id").read_text() != (second / "receiver.id").read_text()
    assert all(path.stat().st_mode & 0o077 == 0 for path in second.rglob("*"))


def test_a_wrong_master_key_or_a_database_in_use_is_refused(first: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    other.write_bytes(b"x" * 32)
    other.chmod(0o600)
    second = tmp_path / "r2"
    made = bongsu(
        "init", "--data", second, "--join", first / "receiver.toml", "--master-key", other, "--ca", first / "ca"
    )
    assert made.code == 1 and "not the master key of this database" in made.err and not second.exists()
    url = json.loads((first / "receiver.toml").read_text().split("url = ", 1)[1].splitlines()[0])
    again = bongsu("init", "--data", second, "--database", url, "--database-password-file", first / "database.password")
    assert again.code == 1 and "belongs to an installation already" in again.err and not second.exists()
    assert bongsu("init", "--data", second, "--join", first / "receiver.toml").code == 2
