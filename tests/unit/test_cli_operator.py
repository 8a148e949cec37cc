"""`bongsu operator`: people of the console, whose passwords never stand on a command line."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bongsu.console import operators, sessions
from bongsu.receiver.store import schema
from tests.console_parts import change
from tests.receiver_parts import make_market

WORDS = "correct horse battery"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_market(tmp_path / "data", 0).data


def run(data: Path, *words: str) -> Any:
    """A command's outcome."""
    command = [sys.executable, "-m", "bongsu.cli", "--data", str(data), "operator", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)


def stored(data: Path, name: str) -> Any:
    return change(data, lambda conn: operators.find(conn, name))


def test_add_list_password_disable_enable(data: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{WORDS}\n")
    secret.chmod(0o600)
    empty = run(data, "list")
    assert empty.returncode == 0 and "Nobody may log in" in empty.stderr
    made = run(
        data, "add", "Desk1", "--full-name", "관제 1", "--role", "viewer", "--password-file", str(secret), "--json"
    )
    assert json.loads(made.stdout) == {"name": "desk1", "role": "viewer"}, made.stderr
    assert operators.is_right(stored(data, "desk1")["password_hash"], WORDS)
    again = run(data, "add", "desk1", "--password-file", str(secret))
    assert again.returncode == 1 and "there already" in again.stderr
    secret.write_text("another long one\n")
    secret.chmod(0o600)
    assert run(data, "password", "desk1", "--password-file", str(secret)).returncode == 0
    assert operators.is_right(stored(data, "desk1")["password_hash"], "another long one")
    assert run(data, "disable", "desk1").returncode == 0
    (row,) = json.loads(run(data, "list", "--json").stdout)
    assert row["state"] == "disabled" and "password_hash" not in row
    assert run(data, "enable", "desk1").returncode == 0
    assert stored(data, "desk1")["disabled_ms"] is None
    assert run(data, "disable", "nobody").returncode == 1


def test_a_changed_role_ends_all_sessions_and_stands_in_the_audit(data: Path) -> None:
    def add(conn: Any) -> None:
        operators.add_operator(
            conn, name="desk1", full_name="", role="admin", lang="ko", password_hash="-", actor="test", now_ms=1
        )
        sessions.begin(conn, "desk1", now_ms=1, length_s=9, idle_s=9)

    change(data, add)
    assert run(data, "edit", "desk1").returncode == 2, "nothing was named"
    assert run(data, "edit", "desk1", "--role", "king").returncode == 2
    assert run(data, "edit", "nobody", "--role", "viewer").returncode == 1
    assert run(data, "list", "--json").stdout.count('"sessions": 1') == 1
    answer = run(data, "edit", "desk1", "--role", "viewer", "--full-name", "관제 1")
    assert answer.returncode == 0, answer.stderr
    (row,) = json.loads(run(data, "list", "--json").stdout)
    assert (row["role"], row["full_name"], row["lang"], row["sessions"]) == ("viewer", "관제 1", "ko", 0)
    acts = change(data, lambda conn: list(conn.execute(select(schema.audit))))
    assert [(a.action, a.detail) for a in acts if a.subject == "operator:desk1"][-1] == (
        "operator.edit",
        "role: viewer, full_name: 관제 1",
    )


def test_a_short_password_is_refused_and_nothing_is_kept(data: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("short\n")
    secret.chmod(0o600)
    answer = run(data, "add", "desk1", "--password-file", str(secret))
    assert answer.returncode == 2 and "fewer than 10" in answer.stderr and "short" not in answer.stderr
    assert stored(data, "desk1") is None


def test_nobody_to_ask_and_no_file(data: Path) -> None:
    answer = run(data, "add", "desk1")
    assert answer.returncode == 1 and "--password-file" in answer.stderr


def test_the_password_is_asked_for_twice_and_not_shown(data: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "bongsu.cli", "--data", str(data), "operator", "add", "desk1"]
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    try:
        for prompt in (b"Password: ", b"confirmation: "):
            while not shown.endswith(prompt):
                shown += os.read(ours, 1000)
            os.write(ours, f"{WORDS}\n".encode())
        assert child.wait(30) == 0
    finally:
        os.close(ours)
        child.kill()
        child.wait()
    assert WORDS.encode() not in shown
    assert operators.is_right(stored(data, "desk1")["password_hash"], WORDS)


def test_a_password_file_that_others_may_read_is_refused(data: Path, tmp_path: Path) -> None:
    secret = tmp_path / "open.words"
    secret.write_text(f"{WORDS}\n")
    secret.chmod(0o644)
    answer = run(data, "add", "desk9", "--password-file", str(secret))
    assert answer.returncode == 1 and "other users" in answer.stderr and "chmod 600" in answer.stderr


def test_nobody_at_the_console_has_the_name_of_an_account_of_the_machine(data: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{WORDS}\n")
    secret.chmod(0o600)
    ran = run(data, "add", "root", "--password-file", str(secret))
    assert ran.returncode == 1 and "account of this machine" in ran.stderr and "Traceback" not in ran.stderr
