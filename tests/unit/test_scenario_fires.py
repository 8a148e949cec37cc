"""The recorded fires as NIST published them, and what is made of them."""

import hashlib
from importlib.resources import files

import pytest

from bongsu.sim import scenarios
from bongsu.sim.scenarios import FIRES, STATIONS, fire_then_clear, load_fire, quiet_air, value_at, with_lighter

# sha256 of the data as published: a test fire must not change by accident.
PUBLISHED = {
    "Activation_Times.csv": "d2d3cf667b4341e9d0714a5592552b1936b07ec2632a8e3419ad50ff63965c11",
    "NIST_Smoke_Alarms_SDC02.csv": "d58319a77168a655f32ae4179c2978c83e55f53acd6d3cc2970e2a930816f422",
    "NIST_Smoke_Alarms_SDC05.csv": "3924abee04e2557b5656bdc028872b4c578125e9233276c29fe8a068f3e354d5",
    "NIST_Smoke_Alarms_SDC33.csv": "68ff55baa8508a5e45b57d6b0eb47416ae66b9e4e40d9821dab9a3519d32c1cd",
    "NIST_Smoke_Alarms_SDC38.csv": "493d99007875f8bf9492d49f7f59cf7c1f428d8d5c34992fd7bf37dbb9f4047c",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_data_is_as_published(name):
    data = files("bongsu.sim").joinpath("data", "nist", name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == PUBLISHED[name]


def test_the_notice_travels_with_the_data():
    notice = files("bongsu.sim").joinpath("data", "nist", "README.md").read_text()
    assert "NIST" in notice and "notice" in notice


@pytest.mark.parametrize("name", FIRES)
@pytest.mark.parametrize("station", STATIONS)
def test_every_fire_at_every_station(name, station):
    fire = load_fire(name, station)
    times = [t for t, _, _ in fire.points]
    assert len(fire.points) > 35 and times == sorted(times) and times[-1] > 160
    assert all(-20 < temp < 1000 and 0 <= smoke < 10 for _, temp, smoke in fire.points)
    assert fire.points[-1][1] > fire.points[0][1] + 5


def test_alarms_of_the_place():
    assert load_fire("SDC02", "E").alarms_s == {"Ion2": 24, "Ion4": 28, "Pho2": 78}
    assert load_fire("SDC02", "E").first_photoelectric_s == 78
    assert load_fire("SDC02", "F").first_photoelectric_s is None


@pytest.mark.parametrize(("name", "station"), [("SDC01", "A"), ("SDC02", "G"), ("SDC02", "AB"), ("SDC02", "")])
def test_what_is_not_there_is_said(name, station):
    with pytest.raises(ValueError, match="no fire"):
        load_fire(name, station)


def test_value_between_before_and_after_points():
    points = [(0.0, 20.0, 0.0), (2.0, 22.0, 0.1), (2.0, 80.0, 0.5), (4.0, 80.0, 0.5)]
    assert value_at(points, 1.0) == (21.0, 0.05)
    assert value_at(points, -1.0) == (20.0, 0.0) and value_at(points, 9.0) == (80.0, 0.5)
    assert value_at(points, 2.0) == (80.0, 0.5)


def test_quiet_air_is_quiet_and_repeatable():
    points = quiet_air(600, seed=3)
    assert points == quiet_air(600, seed=3) != quiet_air(600, seed=4)
    assert points[0][0] == 0 and points[-1][0] == 600
    assert all(abs(temp - scenarios.QUIET_TEMP_C) < 0.5 and 0 <= smoke < 0.01 for _, temp, smoke in points)


def test_fire_is_put_out_and_the_air_is_clear_for_the_restore():
    fire = load_fire("SDC02", "E")
    points = fire_then_clear(fire, out_s=80, clear_s=8, quiet_s=90)
    times = [t for t, _, _ in points]
    assert times == sorted(times) and times[-1] == 178
    assert value_at(points, 50) == value_at(fire.points, 50)
    assert value_at(points, 79.9)[1] > 0.1
    assert all(value_at(points, t)[1] < 0.01 and value_at(points, t)[0] < 25 for t in range(88, 178))


def test_lighter_is_three_seconds():
    points = with_lighter(quiet_air(60), at_s=30)
    times = [t for t, _, _ in points]
    assert times == sorted(times)
    assert value_at(points, 29.9)[0] < 22 and value_at(points, 33.1)[0] < 22
    assert all(value_at(points, 30 + i / 10)[0] == scenarios.LIGHTER_TEMP_C for i in range(30))
