"""State provisioned: application, settings and key are on the board, and the receiver heard it."""

import pytest

from tests.hil.bench import Bench

# One board, one process; a chip takes minutes to be erased and written.
pytestmark = [pytest.mark.xdist_group("hil"), pytest.mark.timeout(900)]

APPLICATION_MOST = 250_000


def test_what_went_over_the_line_is_small(bench: Bench) -> None:
    """The issue's figure: less than 250 KB."""
    bench.to("provisioned")
    assert 0 < bench.provisioned["bytes_copied"] < APPLICATION_MOST


def test_a_second_run_copies_nothing_and_keeps_the_key(bench: Bench) -> None:
    bench.to("running")
    again = bench.provision()
    assert again["bytes_copied"] == 0
    assert (again["epoch"], again["new_key"]) == (bench.provisioned["epoch"], False)
    states = [key["state"] for key in bench.centre.show(bench.node)["keys"]]
    assert states.count("active") == 1 and "pending" not in states


def test_no_secret_was_said(bench: Bench) -> None:
    """Key and broker login are on the board; nothing that a command printed repeats any of them."""
    bench.to("provisioned")
    secrets = bench.centre.secrets(bench.node)
    said = "\n".join(bench.spoken)
    assert len(secrets) >= 3 and all(len(secret) >= 16 for secret in secrets)
    assert not [secret for secret in secrets if secret in said]
