from dataclasses import replace

import numpy as np
import pytest

from palpate.core.errors import PalpateError, RecordError, UnknownNameError
from palpate.sensors.touch.catalog import get_sensor
from palpate.sensors.touch.contact import Pad
from palpate.sensors.touch.flat import press
from palpate.sensors.touch.forms import KINDS, texture
from palpate.sensors.touch.materials import MATERIALS, Material, get_material
from palpate.sensors.touch.outlines import FAR, LETTERS, polygon, star_corners
from palpate.sensors.touch.quantities import quantity
from palpate.sensors.touch.shapes import Pose, Shape, Thing, make_shape, parse_shape

LINE = np.linspace(-12e-3, 12e-3, 241)
"""The patch on which rough planes have their lowest point, twice as fine: its places are among these."""


def on_patch(shape: Shape) -> np.ndarray:
    return shape.height(LINE[None, :], LINE[:, None])


@pytest.mark.parametrize("name", KINDS)
def test_a_shape_is_nowhere_below_its_lowest_point_and_touches_it(name):
    heights = on_patch(make_shape(name))
    assert heights.shape == (241, 241) and np.isfinite(heights).all()
    assert heights.min() >= 0 and heights.max() <= FAR
    # Between the points of the patch, 0.1 mm apart, the sharpest default tip falls less than this.
    np.testing.assert_allclose(heights.min(), 0, atol=20e-6)


@pytest.mark.parametrize("name", KINDS)
def test_a_written_shape_reads_back_and_single_points_agree_with_the_grid(name):
    shape = make_shape(name)
    again = parse_shape(shape.text)
    assert again.name == shape.name
    for key, value in shape.parameters.items():
        assert again.parameters[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-9))
    grid = on_patch(shape)
    np.testing.assert_allclose(shape.height(LINE[70], LINE[133]), grid[133, 70], atol=1e-12)


def test_there_are_at_least_sixteen_families_and_every_letter_differs():
    assert len(KINDS) >= 16
    pictures = {letter: on_patch(make_shape("letter", text=letter)).tobytes() for letter in LETTERS}
    assert len(LETTERS) == 36 and len(set(pictures.values())) == 36


def test_heights_are_those_of_geometry():
    x = np.array([0.0, 1e-3, 2e-3])
    np.testing.assert_allclose(parse_shape("sphere:4mm").height(x, 0 * x), 4e-3 - np.sqrt(16e-6 - x**2), atol=1e-12)
    np.testing.assert_allclose(parse_shape("cylinder:3mm").height(x, 0 * x), 0, atol=1e-12)
    np.testing.assert_allclose(parse_shape("cylinder:3mm").height(0 * x, x), 3e-3 - np.sqrt(9e-6 - x**2), atol=1e-12)
    flat = parse_shape("flat:3mm,rim=0.2mm")
    np.testing.assert_allclose(flat.height(np.array([2.7e-3, 3e-3]), np.zeros(2)), [0, 0.2e-3], atol=1e-12)
    far = np.array([10e-3])
    steep = parse_shape("cone:60deg,tip=0.1mm").height(far, 0 * far) / far
    np.testing.assert_allclose(steep, np.sqrt(3), rtol=0.05)
    corner = parse_shape("corner:0.1mm").height(0 * far, -far) / far
    np.testing.assert_allclose(corner, np.sqrt(2), rtol=0.05)
    wave = parse_shape("waves:2mm,height=0.4mm").height(np.array([0.5e-3, 1e-3, 2e-3]), np.zeros(3))
    np.testing.assert_allclose(wave, [0.2e-3, 0.4e-3, 0], atol=1e-12)


def test_a_polygon_knows_inside_from_outside():
    x, y = np.meshgrid(LINE, LINE)
    square = polygon(x, y, np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 3e-3)
    expected = np.where(
        np.maximum(abs(x), abs(y)) <= 3e-3,
        np.maximum(abs(x), abs(y)) - 3e-3,
        np.hypot(np.maximum(abs(x) - 3e-3, 0), np.maximum(abs(y) - 3e-3, 0)),
    )
    np.testing.assert_allclose(square, expected, atol=1e-12)
    assert polygon(np.zeros(1), np.zeros(1), star_corners(5e-3, 2e-3, 5))[0] < 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blob:3mm", "unknown shape 'blob'; allowed: block, coin"),
        ("sphere:4", "units m, cm, mm, um"),
        ("sphere:4kg", "units m, cm, mm, um"),
        ("sphere:-4mm", "allowed are values from"),
        ("sphere:nanmm", "finite number"),
        ("sphere:0mm", "allowed are values from"),
        ("sphere:4mm,height=2mm", "unknown parameter of sphere 'height'; allowed: radius"),
        ("ring:3mm,1mm", "only the first value may go without a name"),
        ("gear:5mm,teeth=7.5", "whole numbers"),
        ("letter:?", "one letter or digit"),
        ("cone:90mm", "units rad, deg"),
        ("rough:50um,hurst=3", "from 0.05 to 1"),
    ],
)
def test_a_shape_that_cannot_be_read_says_what_is_allowed(text, message):
    with pytest.raises(PalpateError, match=message.replace("?", r"\?")):
        parse_shape(text)


def test_a_nut_needs_a_wall():
    with pytest.raises(RecordError, match="hole"):
        make_shape("nut", width=4e-3, hole=4e-3).height(np.zeros(1), np.zeros(1))


def test_quantities_need_a_unit_unless_they_are_0():
    assert quantity("0.5mm", "length", "depth") == pytest.approx(5e-4, rel=1e-12)
    assert quantity(" -2e-1 N", "force", "force") == pytest.approx(-0.2)
    assert quantity("180deg", "angle", "twist") == pytest.approx(np.pi)
    assert quantity("0", "angle", "twist") == 0.0
    for text in ("1", "mm", "", "1 mm mm", "infmm"):
        with pytest.raises(RecordError, match="depth is"):
            quantity(text, "length", "depth")


def test_a_pose_moves_and_turns_the_thing():
    x = np.linspace(-5e-3, 5e-3, 11)[None, :]
    y = np.linspace(-4e-3, 4e-3, 9)[:, None]
    rod = Thing(parse_shape("cylinder:3mm"))
    turned = replace(rod, pose=Pose(yaw=np.pi / 2))
    np.testing.assert_allclose(turned.height(x, y), (rod.height(y.T, x.T)).T, atol=1e-12)
    key = Thing(parse_shape("key:22mm"))
    moved = replace(key, pose=Pose(1e-3, -2e-3))
    np.testing.assert_allclose(moved.height(x + 1e-3, y - 2e-3), key.height(x, y), atol=1e-12)
    there = Pose(1e-3, 2e-3, 0.3).moved((1e-3, 0.0), np.pi / 2)
    np.testing.assert_allclose([there.x, there.y, there.yaw], [-1e-3, 1e-3, 0.3 + np.pi / 2], atol=1e-12)


def test_roughness_has_its_size_and_belongs_to_the_object():
    x, y = np.meshgrid(np.linspace(-20e-3, 20e-3, 161), np.linspace(-20e-3, 20e-3, 161))
    field = texture(x, y, 30e-6, 0.8, 5)
    assert field.std() == pytest.approx(30e-6, rel=0.1) and abs(field.mean()) < 5e-6
    np.testing.assert_allclose(field[::4, ::4], texture(x[:1, ::4], y[::4, :1], 30e-6, 0.8, 5), atol=1e-15)
    pose = Pose(2e-3, -1e-3, 0.7)
    moved = texture(x[:1], y[:, :1], 30e-6, 0.8, 5, place=(pose.x, pose.y, pose.yaw))
    np.testing.assert_allclose(moved, texture(*pose.to_object(x, y), 30e-6, 0.8, 5), atol=1e-15)
    assert not np.allclose(field, texture(x, y, 30e-6, 0.8, 6))
    steps = [np.diff(texture(x[:1], y[:1], 30e-6, hurst, 5)).std() for hurst in (0.2, 0.9)]
    assert steps[0] > 1.5 * steps[1], "a low Hurst exponent is rougher at short lengths"
    wood = Thing(parse_shape("flat:4mm"), get_material("wood"), seed=3)
    far = Pose(2e-3, 1e-3)
    np.testing.assert_allclose(
        replace(wood, pose=far).height(np.array([2.5e-3]), np.array([1.2e-3])),
        wood.height(np.array([0.5e-3]), np.array([0.2e-3])),
        atol=1e-12,
    )


def test_a_thing_beside_the_pad_is_refused():
    pad = get_sensor("digit").pad
    ball = Thing(parse_shape("sphere:2mm"), pose=Pose(3e-2, 0.0))
    with pytest.raises(RecordError, match=r"lies outside the pad.*8\.00 mm"):
        ball.gap(pad, (40, 34), (pad.height / 40, pad.width / 34))
    gap = replace(ball, pose=Pose()).gap(pad, (40, 34), (pad.height / 40, pad.width / 34))
    assert gap.shape == (40, 34) and gap.dtype == np.float32 and 0 <= gap.min() < 0.1e-3


def test_the_distance_for_curved_tips_is_that_of_a_ball_near_its_surface():
    measure = Thing(parse_shape("sphere:4mm")).distance()
    rng = np.random.default_rng(0)
    away = rng.normal(size=(200, 3))
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    away = away[away[:, 2] > 0.7]
    for off in (0.0, 0.1e-3, -0.1e-3):
        points = away * (4e-3 + off) - np.array([0, 0, 4e-3])  # the ball's lowest point is the origin, +z is its outside
        np.testing.assert_allclose(measure(points), off, atol=6e-6)


def test_softer_materials_press_more_gently_and_wider():
    pad, pitch = Pad(width=16e-3, height=16e-3, thickness=3e-3, young=2e5, poisson=0.48), (0.25e-3, 0.25e-3)
    gap = Thing(parse_shape("sphere:5mm")).gap(pad, (64, 64), pitch)
    found = [
        press(pad, gap, pitch, force=2.0, object_young=m.young, object_poisson=m.poisson)
        for m in (get_material("steel"), get_material("tomato"), get_material("foam"))
    ]
    assert [float(c.contact_area) for c in found] == sorted(float(c.contact_area) for c in found)
    peaks = [float(c.pressure.max()) for c in found]
    assert peaks[0] > 1.1 * peaks[1] > 1.2 * peaks[2]


def test_materials_are_possible_and_say_where_they_come_from():
    assert len(MATERIALS) >= 10 and all("estimate" in material.origin for material in MATERIALS.values())
    with pytest.raises(UnknownNameError, match="unknown material 'jelly'; allowed: apple"):
        get_material("jelly")
    with pytest.raises(RecordError, match="young -1"):
        Material(name="no", young=-1.0, poisson=0.3, friction=0.5, roughness=0.0, origin="a test")
