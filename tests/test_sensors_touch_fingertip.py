"""The Shadow hand's soft fingertips: frames, wanted forces, read-outs, theory, the full finite-element solve, soft objects."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse.linalg as spla

from palpate.core.errors import RecordError
from palpate.core.transforms import apply, inverse
from palpate.sensors.touch.fingertip import DEEPEST, SHADOW_THUMB_TIP, SHADOW_TIP, Fingertip, FingertipTouch, TipModel
from palpate.sensors.touch.taxels import BIOTAC_SP_ROWS
from palpate.sensors.touch.tip import SoftTip, press
from palpate.sensors.touch.tip_mesh import TipShape, assemble

RADIUS = SHADOW_TIP.shape.height
COARSE = replace(SHADOW_TIP, shape=replace(SHADOW_TIP.shape, cells=(8, 8, 12, 2)))
MIRROR = np.array([-1.0, 1.0, 1.0])
OUT = np.array([0.0, 1.0, 1.0]) / np.sqrt(2)
"""The direction into the tip half-way round its cap."""

STARTS = np.cumsum((0, *BIOTAC_SP_ROWS[:-1]))
"""The first taxel of each row."""

Thing = Callable[[np.ndarray], np.ndarray]


def plate(points: np.ndarray) -> np.ndarray:
    return points[:, 2]


def sphere(radius: float, centre: Sequence[float] | np.ndarray) -> Thing:
    return lambda points: np.linalg.norm(points - np.asarray(centre), axis=1) - radius


def ball(radius: float, into: np.ndarray, over: float = 0.0, y: float = 0.0) -> Thing:
    """A ball that touches the tip where its normal is `into`, at y along the cylinder, or overlaps it by `over` [m]."""
    return sphere(radius, np.array([0.0, y, RADIUS]) - (RADIUS + radius - over) * into)


def box(turn: np.ndarray, centre: np.ndarray, half: float) -> Thing:
    def distance(points: np.ndarray) -> np.ndarray:
        apart = np.abs((points - centre) @ turn) - half
        return np.linalg.norm(np.maximum(apart, 0), axis=1) + np.minimum(apart.max(axis=1), 0)

    return distance


def felt(touch: FingertipTouch | None) -> FingertipTouch:
    assert touch is not None
    return touch


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fingertips")


@pytest.fixture(scope="module")
def finger(cache: Path) -> Fingertip:
    return Fingertip(COARSE, cache)


# Frames


@pytest.mark.parametrize(
    ("model", "geom", "joint", "bend"),
    [
        (SHADOW_TIP, "ffdistal", "FFJ0", 0.2),
        (SHADOW_TIP, "lfdistal", "LFJ0", 0.2),
        (SHADOW_THUMB_TIP, "thdistal", "THJ0", -0.2),
    ],
)
def test_tips_have_the_size_and_the_pulp_of_the_hands_model(model, geom, joint, bend):
    mujoco = pytest.importorskip("mujoco")
    found = importlib.util.find_spec("gymnasium_robotics")
    if found is None or found.origin is None:
        pytest.skip("gymnasium-robotics, which carries the hand's model, is not installed")
    hand = mujoco.MjModel.from_xml_path(str(Path(found.origin).parent / "envs/assets/hand/reach.xml"))
    state = mujoco.MjData(hand)
    capsule = hand.geom(f"robot0:C_{geom}")
    np.testing.assert_allclose([model.shape.height, model.cap], [capsule.size[0], capsule.pos[2] + capsule.size[1]], atol=1e-9)
    body = hand.body(f"robot0:{geom}").id
    mujoco.mj_forward(hand, state)
    before, link = state.xpos[body].copy(), state.xmat[body].reshape(3, 3).copy()
    end = np.array([0, 0, model.cap + model.shape.height])
    state.qpos[hand.joint(f"robot0:{joint}").qposadr[0]] = bend
    mujoco.mj_forward(hand, state)
    moved = link.T @ (state.xpos[body] + state.xmat[body].reshape(3, 3) @ end - before) - end
    assert np.array(model.pulp) @ moved > 0.95 * np.linalg.norm(moved)  # the finger bends towards its pulp


@pytest.mark.parametrize("model", [SHADOW_TIP, SHADOW_THUMB_TIP])
def test_the_gel_frame_lies_on_the_pulp_and_turns_rightly(model: TipModel):
    turn = model.gel_from_link[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turn), 1.0, atol=1e-12)
    apex = np.array(model.pulp) * model.shape.height + [0, 0, model.cap]
    np.testing.assert_allclose(apply(model.gel_from_link, apex), 0, atol=1e-12)
    np.testing.assert_allclose(apply(model.gel_from_link, apex + [0, 0, -1e-3]), [0, 1e-3, 0], atol=1e-12)
    np.testing.assert_allclose(apply(model.gel_from_link, [0, 0, model.cap]), [0, 0, model.shape.height], atol=1e-12)


@pytest.mark.parametrize(
    ("at", "soft"),
    [
        ((0, -7.05, 24), True),
        ((0, -7.3, 12), True),  # outside the capsule by as much as a contact's margin
        ((0, -6.7, 12), True),
        ((7.05, 0, 18), True),
        ((0, -5, 28.98), True),
        ((0, 0, 31.05), True),
        ((0, -7.05, 5), False),  # too near to the joint
        ((0, 7.05, 20), False),  # the nail
        ((5, 5, 20), False),
        ((0, 5, 28.98), False),
        ((0, 0, 24), False),  # on the axis, no place of the surface
    ],
)
def test_the_skin_covers_pulp_sides_and_end_but_not_the_nail(finger, at, soft):
    assert finger.covers(np.array(at) * 1e-3) is soft


# Forces and read-outs


def test_a_wanted_force_is_met_and_all_read_outs_agree_with_it(finger):
    wanted = 1.5 * (OUT + 0.3 * np.array([1.0, 0, 0]) + 0.2 * np.array([0, 1.0, -1.0]))
    touch = felt(finger.press(ball(12e-3, OUT, over=2e-4), wanted))
    size = np.linalg.norm(wanted)
    np.testing.assert_allclose(touch.force, wanted, atol=1e-4 * size)
    assert not touch.slipping and not touch.saturated
    assert touch.taxels.shape == (24, 3) and touch.taxels.dtype == np.float32
    np.testing.assert_allclose(touch.taxels.sum(axis=0), touch.force, atol=1e-6 * size)
    np.testing.assert_allclose(touch.torque, np.cross(touch.contact.points, touch.contact.forces).sum(axis=0), atol=1e-12)
    # Taken to its own centre of pressure, the moment is small: there is no more than what friction gives.
    rest = touch.torque - np.cross(touch.centre, touch.force)
    assert np.linalg.norm(rest) < SHADOW_TIP.shape.friction * size * 2 * touch.radius
    assert 0 < touch.torsion_radius < touch.radius and 0 < touch.depth < DEEPEST * SHADOW_TIP.shape.skin


def test_centre_and_normal_of_a_straight_press_are_where_the_ball_is(finger):
    for load in (0.5, 3.0):
        touch = felt(finger.press(ball(12e-3, OUT, over=2e-4), load * OUT))
        np.testing.assert_allclose(touch.centre, np.array([0, 0, RADIUS]) - RADIUS * OUT, atol=2e-4)
        np.testing.assert_allclose(touch.normal, -OUT, atol=0.03)
        np.testing.assert_allclose(touch.torque, np.cross(touch.centre, touch.force), atol=2e-4 * load)


def test_the_small_region_feels_the_pulp_and_not_the_palm_side(finger):
    near = felt(finger.press(ball(10e-3, np.array([0.0, 0, 1])), np.array([0.0, 0, 1])))
    far = felt(finger.press(ball(10e-3, np.array([0.0, 0, 1]), y=12e-3), np.array([0.0, 0, 1])))
    assert near.region_n > 0.9 and far.region_n == 0.0
    assert far.taxels[:, 2].argmax() > near.taxels[:, 2].argmax()  # taxels run from the tip's end to the palm


def test_friction_gives_no_more_than_coulomb_allows(finger):
    thing, side = ball(15e-3, OUT), np.array([1.0, 0, 0])
    for friction in (None, 0.3):
        mu = SHADOW_TIP.shape.friction if friction is None else friction
        slid = felt(finger.press(thing, 2 * (OUT + 1.5 * mu * side), friction=friction))
        contact = slid.contact
        assert slid.slipping
        assert (np.linalg.norm(contact.shear, axis=1) <= mu * contact.pressure * (1 + 1e-6)).all()
        np.testing.assert_allclose(slid.force @ OUT, 2, rtol=1e-4)
        assert 0.85 * 2 * mu < slid.force @ side < 1.05 * 2 * mu  # pressure moves to where the surface slopes against the pull
        held = felt(finger.press(thing, 2 * (OUT + 0.7 * mu * side), friction=friction))
        assert not held.slipping
        np.testing.assert_allclose(held.force @ side, 1.4 * mu, rtol=1e-4)


def test_no_force_is_exactly_nothing_and_an_object_elsewhere_no_touch(finger):
    for force in (np.zeros(3), -OUT, np.array([1.0, 0, 0])):
        touch = felt(finger.press(ball(10e-3, OUT), force))
        for value in (touch.taxels, touch.force, touch.torque, touch.region_n, touch.radius, touch.torsion_radius, touch.depth):
            assert not np.any(value)
        assert not touch.slipping and not touch.saturated
        np.testing.assert_allclose(touch.normal, -OUT, atol=0.02)
    assert finger.press(ball(10e-3, OUT, over=-4e-3), OUT) is None


def test_more_than_the_skin_takes_is_said_and_the_deepest_state_comes_back(finger):
    wanted = 80 * (OUT + 0.2 * np.array([1.0, 0, 0]))
    for young in (None, 2e6):
        touch = felt(finger.press(ball(10e-3, OUT), wanted, young=young))
        sunk = (touch.contact.displacement * touch.contact.normals).sum(axis=1).max()
        assert touch.saturated and not touch.slipping
        assert 0.9 * DEEPEST * SHADOW_TIP.shape.skin < sunk <= DEEPEST * SHADOW_TIP.shape.skin
        share = touch.force @ wanted / (wanted @ wanted)
        np.testing.assert_allclose(touch.force, share * wanted, rtol=1e-3, atol=1e-3)  # less, but in the same direction
        assert 0.02 < share < 0.5


# Symmetries


@pytest.mark.parametrize("young", [None, 0.5e6])
def test_mirrored_presses_give_mirrored_forces(finger, young):
    side = np.array([0.4, 0.5, 0.8]) / np.linalg.norm([0.4, 0.5, 0.8])
    wanted = 2 * side + np.array([0.2, -0.3, 0.1])
    one = felt(finger.press(ball(10e-3, side), wanted, young=young))
    other = felt(finger.press(ball(10e-3, side * MIRROR), wanted * MIRROR, young=young))
    rows, cols = finger.tip.surface.grid
    flip = np.arange(rows * cols).reshape(rows, cols)[:, ::-1].ravel()
    size = np.linalg.norm(wanted)
    np.testing.assert_allclose(other.force * MIRROR, one.force, atol=2e-6 * size)
    np.testing.assert_allclose(other.torque * -MIRROR, one.torque, atol=2e-6 * size * RADIUS)
    np.testing.assert_allclose(
        other.contact.forces[flip] * MIRROR, one.contact.forces, atol=1e-5 * np.abs(one.contact.forces).max()
    )
    order = np.concatenate([first + np.arange(count)[::-1] for first, count in zip(STARTS, BIOTAC_SP_ROWS, strict=True)])
    np.testing.assert_allclose(other.taxels[order] * MIRROR, one.taxels, atol=2e-6 * size)
    np.testing.assert_allclose(other.centre * MIRROR, one.centre, atol=1e-5 * RADIUS)


def test_a_press_turned_about_the_capsules_axis_is_the_same_press(finger):
    """Rigid motion of object and force together; what is left is the mesh, whose facets lie elsewhere under the contact."""
    up = felt(finger.press(ball(15e-3, np.array([0.0, 0, 1]), y=6e-3), np.array([0.5, 0.2, 2])))
    for angle in (0.5, -0.9):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        round_ = felt(finger.press(ball(15e-3, turn[:, 2], y=6e-3), turn @ [0.5, 0.2, 2]))
        np.testing.assert_allclose(round_.force, turn @ up.force, atol=2e-4)
        np.testing.assert_allclose(round_.depth, up.depth, rtol=0.05)
        axis = np.array([0, 0, RADIUS])
        np.testing.assert_allclose(round_.centre - axis, turn @ (up.centre - axis), atol=2e-4)
        np.testing.assert_allclose(round_.torsion_radius, up.torsion_radius, rtol=0.08)
        about_axis = [touch.torque - np.cross(axis, touch.force) for touch in (up, round_)]
        np.testing.assert_allclose(about_axis[1], turn @ about_axis[0], atol=3e-2 * 2 * RADIUS)


def test_where_the_rigid_stage_left_the_object_does_not_matter_along_the_normal(finger):
    touches = [felt(finger.press(ball(12e-3, OUT, over=over), 1.2 * OUT)) for over in (-3e-4, 0.0, 3e-4)]
    for touch in touches[1:]:
        np.testing.assert_allclose(touch.depth, touches[0].depth, rtol=1e-3)
        np.testing.assert_allclose(touch.taxels, touches[0].taxels, atol=2e-3)


# Theory and the full solve


@pytest.mark.parametrize("poisson", [0.3, 0.45])
def test_a_soft_ball_on_a_stiff_tip_obeys_hertz(cache, poisson):
    finger = Fingertip(replace(SHADOW_TIP, shape=replace(COARSE.shape, young=1e10)), cache)
    young = 0.5e6
    for radius in (10e-3, 20e-3):
        for load in (1.0, 2.0):
            touch = felt(finger.press(ball(radius, OUT), load * OUT, young=young, poisson=poisson))
            reduced = 1 / (1 / radius + 1 / RADIUS)
            patch = (0.75 * load * reduced * (1 - poisson**2) / young) ** (1 / 3)
            np.testing.assert_allclose(touch.depth, patch**2 / reduced, rtol=0.06)  # 4-12 facets touch
            np.testing.assert_allclose(touch.torsion_radius, 3 * np.pi / 16 * patch, rtol=0.1)


BULK = TipShape(
    **{name: 0.03 for name in ("half_width", "distal", "proximal", "height")},
    skin=0.012,
    reach=0.6,
    young=0.2e6,
    poisson=0.45,
    friction=0.0,
    cells=(8, 8, 8, 3),
    focus=0.85,
)
"""A gently curved thick skin with small facets at the middle: nearly a half-space for a small ball."""


@pytest.mark.parametrize(("young", "poisson", "off"), [(0.2e6, 0.45, 0.1), (0.05e6, 0.45, 0.05), (0.1e6, 0.3, 0.05)])
def test_two_soft_bodies_obey_hertz_with_the_combined_modulus(cache, young, poisson, off):
    """The stiffer the object the more the skin counts, which is no half-space and up to 12 % stiffer than one."""
    tip, radius = SoftTip(BULK, cache), 6e-3
    reduced = 1 / (1 / radius + 1 / BULK.half_width)
    combined = 1 / ((1 - BULK.poisson**2) / BULK.young + (1 - poisson**2) / young)
    for depth in (2e-4, 3e-4, 4e-4):
        contact = press(tip, sphere(radius, [0, 0, -radius]), depth=depth, object_young=young, object_poisson=poisson)
        np.testing.assert_allclose(contact.force[2], 4 / 3 * combined * np.sqrt(reduced) * depth**1.5, rtol=off)


def test_a_thin_compressible_skin_is_an_elastic_foundation(cache):
    """Johnson (1985), section 5.8: pressure = M depth / thickness, M = E (1-nu)/((1+nu)(1-2nu)); for a sphere F = pi R M d^2/h."""
    skin, poisson, young = 0.25e-3, 0.3, 0.25e6
    shape = TipShape(
        **{name: RADIUS for name in ("half_width", "distal", "proximal", "height")},
        skin=skin,
        reach=0.7,
        young=young,
        poisson=poisson,
        friction=0.0,
        cells=(10, 10, 10, 2),
        focus=0.6,
    )
    tip = SoftTip(shape, cache)
    stiff = young * (1 - poisson) / ((1 + poisson) * (1 - 2 * poisson))
    for depth in (1e-4, 1.5e-4):
        force = press(tip, plate, depth=depth).force[2]
        np.testing.assert_allclose(force, np.pi * RADIUS * stiff * depth**2 / skin, rtol=0.07)  # the theory lacks h/R = 4 %


def test_the_full_finite_element_mesh_agrees_that_skin_and_object_meet_by_the_law(cache):
    """The forces found on the condensed skin, put on all unknowns of the mesh: gaps close, stuck facets move as one, slip opposes shear."""
    shape = replace(SHADOW_TIP.shape, cells=(6, 6, 8, 2))
    finger = Fingertip(replace(SHADOW_TIP, shape=shape), cache)
    side = np.array([0.8, 0.6 / np.sqrt(2), -0.6 / np.sqrt(2)])
    touch = felt(finger.press(lambda points: (points - [0, 0, RADIUS]) @ OUT + RADIUS, 3 * (OUT + 0.6 * side)))
    contact = touch.contact
    stiffness, loads, _ = assemble(shape)
    moved = loads.T @ spla.spsolve((stiffness * shape.young).tocsc(), loads @ contact.forces.ravel())
    moved = moved.reshape(-1, 3)
    np.testing.assert_allclose(contact.displacement, moved, atol=1e-4 * np.abs(moved).max())
    height = (finger.tip.surface.samples.mean(axis=1) + moved) @ OUT
    touching = contact.pressure > 0
    level = height[touching].mean()
    assert touching.sum() >= 8
    np.testing.assert_allclose(height[touching], level, atol=1e-3 * touch.depth)
    assert (height[~touching] > level - 1e-3 * touch.depth).all()
    size = np.linalg.norm(contact.shear, axis=1)
    stuck = touching & (size < 0.999 * shape.friction * contact.pressure)
    slips = touching & ~stuck
    assert stuck.sum() >= 3 and slips.sum() >= 3
    along = moved - (moved @ OUT)[:, None] * OUT
    shift = along[stuck].mean(axis=0)
    np.testing.assert_allclose(along[stuck] - shift, 0, atol=1e-3 * np.linalg.norm(shift))
    slid = along[slips] - shift  # where the skin went, seen from the object: against the shear on it
    cosine = (slid * contact.shear[slips]).sum(axis=1) / np.linalg.norm(slid, axis=1) / size[slips]
    assert (cosine < -0.98).all()


@pytest.mark.slow
def test_a_finer_mesh_gives_the_same_depth_within_five_percent(cache):
    shapes = [replace(SHADOW_TIP.shape, cells=cells) for cells in ((10, 10, 16, 3), (12, 12, 19, 3))]
    coarse, fine = (Fingertip(replace(SHADOW_TIP, shape=shape), cache) for shape in shapes)
    up = np.array([0.0, 0, 1])
    for thing, into in ((ball(20e-3, OUT), OUT), (ball(10e-3, up, y=5e-3), up)):
        for load in (1.0, 3.0, 5.0):
            wanted = load * (into + 0.3 * np.array([1.0, 0, 0]))
            one, other = (felt(tip.press(thing, wanted)) for tip in (coarse, fine))
            np.testing.assert_allclose(one.depth, other.depth, rtol=0.05)
            np.testing.assert_allclose(one.centre, other.centre, atol=2e-4)
            np.testing.assert_allclose(one.torsion_radius, other.torsion_radius, rtol=0.08)
            assert (one.contact.pressure > 0).sum() >= 8


# A collection never stops


def test_random_balls_and_boxes_always_come_back_in_balance(finger):
    rng = np.random.default_rng(5)
    surface = finger.tip.surface
    for number in range(60):
        at = rng.integers(surface.areas.size)
        place, into = surface.points[at], surface.normals[at]
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        over = rng.uniform(-3e-4, 3e-4)
        if number % 2:
            radius = rng.uniform(8e-3, 50e-3)
            thing = sphere(radius, place - (radius - over) * into)
        else:  # a corner, the hardest thing to meet
            thing = box(turn, place - turn @ (np.sign(turn.T @ into) * 15e-3) + over * into, 15e-3)
        side = np.cross(into, rng.normal(size=3))
        wanted = 10 ** rng.uniform(-1, 1) * (into + rng.uniform(0, 0.7) * side / np.linalg.norm(side))
        young = None if number % 3 else 10 ** rng.uniform(5, 7)
        touch = felt(finger.press(thing, wanted, young=young))
        assert np.isfinite(touch.taxels).all() and 0 <= touch.depth < 1e-2
        if not (touch.saturated or touch.slipping):
            got = touch.force if touch.force.any() else wanted  # a wanted pull is no touch
            np.testing.assert_allclose(got, wanted, atol=2e-2 * np.linalg.norm(wanted))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"force": np.ones(2)}, "three finite"),
        ({"force": np.array([0, 0, np.nan])}, "three finite"),
        ({"young": -1.0}, "object_young"),
        ({"young": 1e6, "poisson": 0.6}, "object_poisson"),
        ({"friction": -0.1}, "friction"),
    ],
)
def test_a_bad_press_says_what_is_wrong(finger, how, message):
    with pytest.raises(RecordError, match=message):
        finger.press(ball(10e-3, OUT), **{"force": OUT, **how})


def test_a_pull_excludes_a_shift_and_soft_objects_have_no_history(finger):
    held = press(finger.tip, plate, depth=2e-4)
    with pytest.raises(RecordError, match="shift"):
        press(finger.tip, plate, force=1.0, pull=(0.1, 0, 0), shift=(1e-4, 0))
    with pytest.raises(RecordError, match="first contact"):
        press(finger.tip, plate, force=1.0, before=held, object_young=1e6)
    with pytest.raises(RecordError, match="pull"):
        press(finger.tip, plate, force=1.0, pull=(0.1, np.nan, 0))
    with pytest.raises(RecordError, match="straight"):
        Fingertip(replace(SHADOW_TIP, shape=BULK))
    np.testing.assert_allclose(inverse(finger.gel_from_link) @ finger.gel_from_link, np.eye(4), atol=1e-12)
