"""The recorded fires as NIST published them, and what is made of them."""

import hashlib
from importlib.resources import files

import pytest

from bongsu.sim import scenario_csv, scenarios
from bongsu.sim.scenarios import FIRES, STATIONS, fire_then_clear, load_fire, quiet_air, value_at, with_lighter
from tools import make_fires

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


@pytest.mark.parametrize("name", scenarios.recording_names())
def test_every_recording_burns(name):
    track = scenarios.recording(name).track
    heat = track.columns["temp_c"]
    smoke = track.columns.get("smoke_od_per_m", (1.0,))
    assert 0 <= track.start_s < 5 and track.end_s > 120
    assert max(smoke) > 0.03 or max(heat) > heat[0] + 10
    assert all(0 <= rh <= 100 for rh in track.columns.get("rh_pct", ()))


def test_the_recordings_are_all_of_the_data():
    folder = files("bongsu.sim").joinpath("data")
    for kind in scenarios.MODEL_FIRES:
        there = {f"{kind}/{path.name.removesuffix('.csv')}" for path in folder.joinpath(kind).iterdir()}
        assert there - {f"{kind}/README.md"} == {n for n in scenarios.recording_names() if n.startswith(f"{kind}/")}
    assert len(list(scenarios.recordings())) == len(scenarios.recording_names()) == 24 + 8 + 8


@pytest.mark.parametrize("name", ["nist/SDC33-A", "nist/SDC38-A"])
def test_a_meter_that_stood_still_is_no_clean_air(name):
    found = scenarios.recording(name)
    assert found.track.value_at("smoke_od_per_m", 100) is None
    assert found.track.value_at("temp_c", 100) > 20


def test_only_meters_that_stood_still_are_left_out():
    """Those that measured give many values, or rise past any alarm; the two that did not, neither."""
    for fire in FIRES:
        for station in STATIONS:
            smoke = [smoke for _, _, smoke in load_fire(fire, station).points]
            assert (max(smoke) < 0.01) == ((fire, station) in scenarios.NO_SMOKE_METER)


def test_activation_times_come_with_the_recording():
    assert scenarios.recording("nist/SDC02-E").first_photoelectric_s == 78
    assert scenarios.recording("nist/SDC02-F").first_photoelectric_s is None
    assert scenarios.recording("cfast/flaming").first_photoelectric_s is None


@pytest.mark.parametrize("name", ["nist/SDC01-A", "SDC02-A", "cfast/none", "en54/TF9", "", "nist/../en54/TF1"])
def test_an_unknown_recording_is_refused_with_those_there_are(name):
    with pytest.raises(ValueError, match="no recording.*en54/TF2"):
        scenarios.recording(name)


@pytest.mark.parametrize("name", scenarios.MODEL_FIRES["en54"])
def test_the_idealised_fires_are_what_the_tool_makes(name):
    """CFAST's are not made anew here: it is no part of the project."""
    made = {fire.name: make_fires.test_fire(fire) for fire in make_fires.TEST_FIRES}
    text = files("bongsu.sim").joinpath("data", "en54", f"{name}.csv").read_text()
    assert scenario_csv.write(made[name]) == text


def test_test_fire_3_ends_as_its_source_says():
    """2 dB/m = 0.2/m, between 280 and 750 s."""
    track = scenarios.recording("en54/TF3").track
    assert 280 < track.end_s < 750
    assert track.value_at("smoke_od_per_m", track.end_s) == pytest.approx(0.2)
    assert max(scenarios.recording("en54/TF6").track.columns["smoke_od_per_m"]) == 0


@pytest.mark.parametrize("fire", ["flaming", "smouldering", "slow_smoulder", "fryer"])
def test_smoke_comes_later_and_thinner_to_the_aisle(fire):
    stall, aisle = (scenarios.recording(f"cfast/{name}").track for name in (fire, f"{fire}_aisle"))
    assert all(
        b <= a + 1e-9 for a, b in zip(stall.columns["smoke_od_per_m"], aisle.columns["smoke_od_per_m"], strict=True)
    )


def test_the_slow_fire_is_slow():
    """It lasts hours, its smoke grows by less than a head's threshold an hour, and it hardly warms the air at first."""
    track = scenarios.recording("cfast/slow_smoulder").track
    assert track.end_s > 2.9 * 3600
    assert track.value_at("smoke_od_per_m", 3600) < 0.06 < track.value_at("smoke_od_per_m", track.end_s)
    assert track.value_at("temp_c", 3600) < 22


@pytest.mark.parametrize(
    ("folder", "words"), [("cfast", "CFAST-8-Beta"), ("en54", "not measurements"), ("en54", "Sources")]
)
def test_where_the_curves_come_from_is_said_beside_them(folder, words):
    readme = files("bongsu.sim").joinpath("data", folder, "README.md").read_text(encoding="utf-8")
    assert words in readme
    assert all(name in readme for name in scenarios.MODEL_FIRES[folder] if not name.endswith("_aisle"))
