import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from palpate.cli.main import main
from palpate.core.errors import DataError, PalpateError
from palpate.core.randomness import generator
from palpate.data.reader import open_dataset
from palpate.evaluation.figures_touch import PictureTable, draw_difference, draw_reading
from palpate.recipes import touch_press
from palpate.recipes.touch_collection import FORCE_LIMIT, TouchConfig, bearable_depth, collect_touch
from palpate.recipes.touch_gallery import GalleryConfig, write_gallery
from palpate.recipes.touch_motion import draw_object, draw_path, draw_touch
from palpate.recipes.touch_press import PressRig, Step, figures, find_sensor, press_once, resized, summary
from palpate.recipes.touch_show import ShowConfig, show_press
from palpate.sensors.touch.catalog import get_sensor
from palpate.sensors.touch.files import write_sensor
from palpate.sensors.touch.forms import KINDS
from palpate.sensors.touch.imprint import ball_sunk
from palpate.sensors.touch.materials import get_material
from palpate.sensors.touch.shapes import Pose, Thing, parse_shape
from palpate.sensors.touch.tip_mesh import BIOTAC_SP

CELL = 0.3e-3
BALL = Thing(parse_shape("sphere:4mm"))


@pytest.fixture
def rig() -> PressRig:
    return PressRig(resized(get_sensor("digit"), 160), cell=CELL)


@pytest.fixture
def small_tip(monkeypatch, tmp_path):
    """A coarse BioTac, so that its skin is condensed in no time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(touch_press.CURVED, "biotac-sp", replace(BIOTAC_SP, cells=(4, 4, 6, 1)))


def test_the_figures_of_a_press_are_those_of_its_contact(rig):
    pressed = press_once(rig, BALL, Step(force=2.0, shift=(0.2e-3, -0.1e-3), twist=0.05))
    told, contact = summary(pressed), pressed.contact
    assert json.loads(json.dumps(told)) == told
    assert told["normal_force_n"] == pytest.approx(2.0, rel=2e-3)
    np.testing.assert_allclose([*told["shear_force_n"], told["normal_force_n"]], contact.force, rtol=1e-6)
    np.testing.assert_allclose(told["torque_nm"], contact.torque, rtol=1e-6)
    assert told["max_pressure_pa"] == float(contact.pressure.max())
    assert np.pi * told["contact_radius_m"] ** 2 == pytest.approx(told["contact_area_m2"], rel=1e-9)
    assert told["shear_force_n"][0] > 0 > told["shear_force_n"][1], "the gel is dragged along the shift"
    assert told["torque_nm"][2] > 0, "and turned along the twist"
    assert told["sensor"] == "digit" and told["shape"] == {"name": "sphere", "radius": 4e-3}
    assert any("pad.young" in line for line in told["estimates"]) and any("optics" in line for line in told["estimates"])


def test_depth_and_force_are_two_ways_to_the_same_press(rig):
    by_force = press_once(rig, BALL, Step(force=1.5))
    by_depth = press_once(rig, BALL, Step(depth=float(by_force.contact.approach)))
    assert figures(by_depth.contact)["normal_force_n"] == pytest.approx(1.5, rel=5e-3)
    difference = by_depth.reading.image.astype(int) - by_force.reading.image
    assert np.abs(difference).max() <= 2


def test_a_press_ends_friction_at_its_cone_and_slippery_things_drag_less(rig):
    drags = {}
    for name in ("cloth", "silicone"):
        material = replace(get_material(name), young=None, roughness=0.0)
        told = figures(press_once(rig, replace(BALL, material=material), Step(depth=0.5e-3, shift=(2e-3, 0.0))).contact)
        drags[name] = told["shear_force_n"][0] / told["normal_force_n"]
        assert drags[name] <= material.friction * 1.001
    assert drags["cloth"] == pytest.approx(get_material("cloth").friction, rel=0.02), "it slips altogether"
    assert drags["silicone"] > 1.5 * drags["cloth"]


def test_a_picture_changes_where_the_thing_lies(rig):
    where = Pose(3e-3, -4e-3)
    pressed = press_once(rig, replace(BALL, pose=where), Step(depth=0.6e-3))
    change = np.abs(pressed.reading.image.astype(float) - pressed.rest.image).sum(axis=-1)
    rows, cols = change.shape
    y, x = np.indices(change.shape)
    centre = np.array([(x * change).sum(), (y * change).sum()]) / change.sum()
    pitch = np.array([0.016 / cols, 0.019 / rows])
    np.testing.assert_allclose((centre + 0.5) * pitch - [0.008, 0.0095], [3e-3, -4e-3], atol=0.3e-3)
    again = press_once(rig, replace(BALL, pose=where), Step(depth=0.6e-3))
    np.testing.assert_array_equal(again.reading.image, pressed.reading.image)


def test_a_smaller_picture_shows_the_same_gel():
    model = get_sensor("gelsight-mini")
    small = resized(model, 80)
    assert small.picture_shape == (60, 80) and small.field_of_view == model.field_of_view
    assert resized(model, 4000) is model and resized(get_sensor("tac3d"), 10).picture_shape is None
    images = [press_once(PressRig(m, cell=CELL), BALL, Step(depth=0.6e-3)) for m in (model, small)]
    wide, narrow = (p.reading.image.astype(np.float32) - p.rest.image for p in images)
    shrunk = cv2.resize(wide, (80, 60), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(shrunk.ravel(), narrow.ravel())[0, 1] > 0.98


def test_numbers_of_other_sensors_add_up_and_can_be_drawn(small_tip):
    for name in ("tac3d", "biotac-sp"):
        rig = PressRig(get_sensor(name), cell=CELL)
        pressed = press_once(rig, BALL, Step(force=1.0, shift=(0.1e-3, 0.0)))
        forces = pressed.reading.force if name == "tac3d" else pressed.reading.taxels
        np.testing.assert_allclose(forces.reshape(-1, 3).sum(axis=0), pressed.contact.force, rtol=1e-4, atol=1e-5)
        picture = draw_reading(rig.model, pressed.reading, rig.layout)
        still = draw_reading(rig.model, pressed.rest, rig.layout)
        assert picture.dtype == np.uint8 and picture.shape == still.shape and (picture != still).any()
        assert draw_difference(rig.model, pressed.reading, pressed.rest) is None


def test_a_table_of_pictures_needs_all_its_cells():
    cell = [np.zeros((10, 20, 3), np.uint8)]
    table = PictureTable(rows=["a"], columns=["b", "c"], cells=[[cell, cell * 2]], notes=[["", "x"]])
    assert table.draw(height=40).ndim == 3
    with pytest.raises(PalpateError, match="1 rows and 2 columns"):
        PictureTable(rows=["a"], columns=["b", "c"], cells=[[cell]], notes=[["", "x"]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sensor": "foo"}, "unknown touch sensor 'foo'; allowed: digit"),
        ({"press": "blob:3mm"}, "unknown shape 'blob'"),
        ({"depth": "1kg"}, "--depth is '1kg'; give a finite number with one of the units"),
        ({"depth": "5mm"}, "more than the gel's thickness"),
        ({"depth": "0mm"}, "give more than 0"),
        ({"depth": "1mm", "force": "2N"}, "give only one of them"),
        ({"force": "70N", "press": "block:14mm"}, "beyond digit's 60 N"),
        ({"at": "30mm,0"}, "outside the pad"),
        ({"at": "3mm"}, "two lengths with a comma"),
        ({"material": "jelly"}, "unknown material 'jelly'"),
        ({"twist": "5mm"}, "units rad, deg"),
    ],
)
def test_a_press_that_cannot_be_says_why_and_writes_nothing(options, message, tmp_path):
    with pytest.raises(PalpateError, match=message):
        show_press(ShowConfig(out=tmp_path / "press.png", **options))
    assert not (tmp_path / "press.png").exists()


def test_the_command_writes_picture_and_figures(tmp_path, capsys):
    out, told = tmp_path / "new" / "press.png", tmp_path / "press.json"
    words = ["--press", "ring:4mm,wire=1mm", "--force", "2N", "--shift", "0.3mm,0", "--twist", "5deg", "--material", "wood"]
    assert main(["touch", "--sensor", "digit", *words, "--out", str(out), "--json", str(told)]) == 0
    assert "2 N into the gel" in capsys.readouterr().out
    assert cv2.imread(str(out)).shape == (320, 240, 3)
    content = json.loads(told.read_text())
    assert content["normal_force_n"] == pytest.approx(2.0, rel=5e-3) and content["torque_nm"][2] > 0
    assert {"contact_radius_m", "max_pressure_pa", "shear_force_n", "sensor", "estimates"} <= set(content)
    assert main(["touch", "--press", "sphere:4", "--out", str(out)]) == 1
    assert "units m, cm, mm, um" in capsys.readouterr().err
    assert main(["touch", "--out", str(tmp_path / "press.pdf")]) == 1
    assert ".png" in capsys.readouterr().err


def test_a_sensor_from_a_file_presses_like_a_known_one(tmp_path):
    write_sensor(get_sensor("digit"), tmp_path / "mine.json")
    told = [
        show_press(ShowConfig(out=tmp_path / "p.png", sensor=name, depth="0.4mm"))
        for name in (str(tmp_path / "mine.json"), "digit")
    ]
    assert told[0]["normal_force_n"] == told[1]["normal_force_n"]
    assert any("optics" in line for line in told[0]["estimates"])
    with pytest.raises(DataError, match=r"nowhere\.toml cannot be read"):
        find_sensor(str(tmp_path / "nowhere.toml"))


def test_the_gallery_shows_every_thing_on_every_sensor(tmp_path, small_tip):
    said: list[str] = []
    config = GalleryConfig(
        out=tmp_path / "gallery",
        sensors=("digit", "tac3d", "biotac-sp"),
        things=(("sphere:4mm", "steel"), ("coin:5mm", "wood")),
        cell=CELL,
    )
    picture, page = write_gallery(config, said.append)
    assert cv2.imread(str(picture)).shape[0] > 200 and len(said) == 2
    text = page.read_text()
    assert "coin, wood" in text and "data:image" in text and 'src="http' not in text
    assert "biotac-sp" in text, "a sensor of guesses is named as such"


def small(folder, **more) -> TouchConfig:
    given = {"touches": 4, "seed": 5, "workers": 1, "objects": 30, "picture": 48, "sensors": ("digit", "tac3d"), **more}
    return TouchConfig(out=folder, **given)


@pytest.fixture(scope="module")
def fine(tmp_path_factory):
    return collect_touch(small(tmp_path_factory.mktemp("touch") / "fine"))


@pytest.fixture(scope="module")
def coarse(tmp_path_factory):
    return collect_touch(small(tmp_path_factory.mktemp("touch") / "coarse", mode="coarse"))


def files(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "episodes").iterdir())}


def test_workers_and_interruptions_change_nothing(fine, tmp_path):
    collect_touch(small(tmp_path / "again", touches=2))
    with pytest.raises(DataError, match="--resume"):
        collect_touch(small(tmp_path / "again"))
    collect_touch(small(tmp_path / "again", workers=2, resume=True))
    assert files(tmp_path / "again") == files(fine)
    with pytest.raises(DataError, match="another configuration"):
        collect_touch(small(tmp_path / "again", mode="coarse", resume=True))


def test_units_of_a_sensor_see_the_same_touches_through_gels_of_their_own(fine, tmp_path):
    one, two = open_dataset(fine), open_dataset(collect_touch(small(tmp_path / "units", units=3)))
    units = two.column("group.unit").tolist()
    assert set(units) <= {"0", "1", "2"} and len(set(units)) > 1 and "group.unit" not in one.names
    for row, unit in enumerate(units):
        own, other = (data.episode(row) for data in (one, two))
        np.testing.assert_array_equal(own.streams["press.force.digit"].values, other.streams["press.force.digit"].values)
        rest = [float(e.streams["touch.digit"].values[0].astype(float).mean()) for e in (own, other)]
        assert (abs(rest[0] - rest[1]) > 0.5) == (unit != "0")


def test_in_fine_mode_all_sensors_share_spot_depth_and_speed(fine):
    data = open_dataset(fine)
    assert len(data) == 4 and data.head.config["mode"] == "fine"
    for episode in data:
        assert set(episode.streams) == {
            *("touch.digit", "taxels.tac3d", "press.force.digit", "press.force.tac3d", "press.depth", "camera.rgb"),
        }
        depth = episode.streams["press.depth"].values
        np.testing.assert_array_equal(depth[:, 0], depth[:, 1])
        assert depth.max() == pytest.approx(episode.truth["depth"], rel=1e-5)
        assert episode.groups.keys() == {"object", "spot", "material", "shape"} and episode.groups["shape"] in KINDS
        assert episode.arrays["spot"][0] == episode.truth["spot.x"]
        assert ("young" in episode.truth) == (episode.truth["rigid"] == 0.0), "a rigid thing has no modulus"


def test_frames_come_at_each_sensors_own_rate_and_tell_of_the_press(fine):
    for episode in open_dataset(fine):
        times = [episode.event(name) for name in ("contact", "hold", "release", "free")]
        assert times == sorted(times)
        for stream, rate in (("touch.digit", 60.0), ("taxels.tac3d", 30.0)):
            clock = episode.streams[stream].times
            np.testing.assert_allclose(np.diff(clock), 1 / rate, rtol=1e-9)
            assert clock[0] < times[0] and clock[-1] > times[3], "frames without contact on both ends"
            assert ((clock > times[1]) & (clock < times[2])).any(), "and one at full depth at least"
        force = episode.streams["press.force.digit"]
        np.testing.assert_array_equal(force.times, episode.streams["touch.digit"].times)
        away = (force.times <= times[0]) | (force.times >= times[3])
        held = (force.times > times[1]) & (force.times < times[2])
        assert (force.values[away] == 0).all() and (force.values[held, 2] > 0).all()
        assert force.values[:, 2].max() == pytest.approx(episode.truth["force.digit"], rel=1e-5)
        images = episode.streams["touch.digit"].values.astype(float)
        change = np.abs(images - images[0]).mean(axis=(1, 2, 3))
        assert change[held].min() > 0 and change[held].mean() > change[away][1:].mean()
        field = episode.streams["taxels.tac3d"].values
        np.testing.assert_allclose(
            field[..., 5].sum(axis=1), episode.streams["press.force.tac3d"].values[:, 2], atol=0.08
        )  # noise of 1 mN on each of 400 parts: 20 mN in all, four times that


def test_in_coarse_mode_hands_slide_and_turn_and_differ_between_sensors(coarse):
    for episode in open_dataset(coarse):
        twist = episode.streams["press.twist"].values
        assert (np.abs(twist[-1]) > np.deg2rad(0.99)).all() and (np.abs(twist[-1]) < np.deg2rad(10.01)).all()
        assert twist[-1, 0] != twist[-1, 1]
        depth = episode.streams["press.depth"].values
        assert depth[:, 0].max() != depth[:, 1].max()
        slide = np.hypot(episode.streams["press.slide.x"].values[-1], episode.streams["press.slide.y"].values[-1])
        assert (slide > 0.09e-3).all()
        for sensor in ("digit", "tac3d"):
            force = episode.streams[f"press.force.{sensor}"].values
            along = np.hypot(force[:, 0], force[:, 1])
            assert along.max() > 0
            assert (along <= episode.truth["friction"] * force[:, 2] * 1.01 + 1e-6).all(), "within the friction cone"


def test_objects_touches_and_paths_depend_on_their_numbers_only():
    assert draw_object(3, 8) == draw_object(3, 8) != draw_object(4, 8)
    assert {draw_object(3, k).shape.name for k in range(len(KINDS))} == set(KINDS)
    touch = draw_touch(3, 17, 50)
    assert touch == draw_touch(3, 17, 50) and 0.25e-3 <= touch.depth <= 1.2e-3
    same = [draw_path(touch, "fine", generator(k)) for k in (0, 1)]
    assert same[0] == same[1] and same[0].twist == 0
    other = [draw_path(touch, "coarse", generator(k)) for k in (0, 1)]
    assert other[0] != other[1] and other[0].times == other[1].times
    path = other[0]
    state = path.at(np.linspace(0, path.times[-1], 50))
    assert state[0, 0] == 0 == state[-1, 0] and state[:, 0].max() <= path.depth * (1 + 1e-12)
    np.testing.assert_allclose(path.at(np.array(path.times[1:3]))[:, 0], path.depth, rtol=1e-9)


def test_no_sensor_is_pressed_harder_than_it_should(rig):
    touch = replace(draw_touch(3, 17, 50), thing=Thing(parse_shape("block:12mm")), depth=1.1e-3)
    depth = bearable_depth([rig], touch)
    told = figures(rig.meet(touch.thing).press(Step(depth=depth)))
    assert depth < 1.1e-3 and told["normal_force_n"] == pytest.approx(FORCE_LIMIT, rel=0.01)
    gentle = replace(touch, thing=BALL, depth=0.3e-3)
    assert bearable_depth([rig], gentle) == 0.3e-3


def test_wrong_collections_are_refused_before_a_folder_is_made(tmp_path):
    for change, message in (
        ({"touches": 0}, "--touches 0"),
        ({"sensors": ("digit", "digit")}, "different sensors"),
        ({"sensors": ("foo",)}, "unknown touch sensor"),
        ({"picture": 3}, "--picture 3"),
        ({"optics": ("digit=nowhere.npz",)}, "SENSOR=FILE"),
    ):
        with pytest.raises(PalpateError, match=message):
            collect_touch(small(tmp_path / "none", **change))
    assert not (tmp_path / "none").exists()
    with pytest.raises(PalpateError, match="--workers 0"):
        collect_touch(small(tmp_path / "none", workers=0))


def test_collect_on_the_command_line_says_what_it_made(tmp_path, capsys):
    out = tmp_path / "data"
    sizes = ["--touches", "1", "--workers", "1", "--picture", "32", "--sensors", "gelsight-mini-markers"]
    assert main(["collect", "touch", *sizes, "--mode", "coarse", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "minutes" in text and "markers.gelsight-mini-markers" in text and "group material" in text
    assert main(["collect", "--help"]) == 0
    text = capsys.readouterr().out
    assert "collect gentle" in text and "collect touch" in text and "train" not in text


def test_calibration_fits_optics_that_the_press_command_takes(tmp_path, capsys):
    """Pictures of an invented sensor: red and green light from two sides, so that the fit has something true to find."""
    shape, pitch, radius = (60, 80), (14.16e-3 / 60, 18.88e-3 / 80), 3e-3
    rng = generator(3)
    rest = np.full((*shape, 3), 110, np.uint8)
    folder = tmp_path / "presses"
    folder.mkdir()
    cv2.imwrite(str(folder / "rest.png"), rest)
    lines = ["file,x_px,y_px,radius_px"]
    for k in range(8):
        x, y, r = rng.uniform(25, 55), rng.uniform(20, 40), rng.uniform(5, 8)
        sunk = ball_sunk(shape, pitch, (x, y), r * pitch[0], ball_radius=radius, thickness=4e-3)
        down, right = np.gradient(sunk, pitch[0], pitch[1])
        change = 60 * np.stack([0 * right, down, right], axis=-1)  # OpenCV writes blue, green, red
        cv2.imwrite(str(folder / f"{k}.png"), np.clip(np.rint(rest + change), 0, 255).astype(np.uint8))
        lines.append(f"{k}.png,{x:.3f},{y:.3f},{r:.3f}")
    (folder / "presses.csv").write_text("\n".join(lines) + "\n")
    out, told = tmp_path / "mini.npz", tmp_path / "fit.json"
    words = ["calibrate", "touch", str(folder), "--sensor", "gelsight-mini"]
    assert main([*words, "--ball", "3mm", "--out", str(out), "--json", str(told)]) == 0
    assert "held out" in capsys.readouterr().out
    assert json.loads(told.read_text())["held_out"]["correlation"] > 0.9
    picture = tmp_path / "press.png"
    assert main(["touch", "--sensor", "gelsight-mini", "--optics", str(out), "--out", str(picture)]) == 0
    assert picture.exists()
    assert main(["touch", "--sensor", "digit", "--optics", str(out), "--out", str(picture)]) == 1
    assert "calibrate digit itself" in capsys.readouterr().err
    assert main([*words, "--ball", "0.5mm", "--out", str(out)]) == 1
    assert "radius (not diameter)" in capsys.readouterr().err
    table = folder / "presses.csv"
    right = table.read_text()
    rows = [line.split(",") for line in right.splitlines()]
    shifted = [rows[0], *([name, str(float(x) + 14), y, r] for name, x, y, r in rows[1:])]
    table.write_text("\n".join(map(",".join, shifted)) + "\n")
    assert main([*words, "--ball", "3mm", "--out", str(out)]) == 1
    assert "the labelled centres lie +" in capsys.readouterr().err
    table.write_text(right)
    cv2.imwrite(str(folder / "3.png"), rest)
    assert main([*words, "--ball", "3mm", "--out", str(out)]) == 1
    assert "press 3.png: no press found" in capsys.readouterr().err
    assert main(["calibrate", "touch", str(folder), "--sensor", "tac3d", "--ball", "3mm", "--out", str(out)]) == 1
    assert "gives no picture" in capsys.readouterr().err
