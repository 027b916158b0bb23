"""Curved fingertips: condensed finite elements against full ones and theory, Coulomb friction, symmetries, read-outs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from palpate.core.errors import RecordError, SimulationError
from palpate.sensors.touch.taxels import (
    biotac_sp_taxels,
    force_field,
    region_force,
    taxel_forces,
)
from palpate.sensors.touch.tip import SoftTip, TipContact, press
from palpate.sensors.touch.tip_mesh import BIOTAC_SP, HEMISPHERE, TipShape, assemble

DOME = replace(HEMISPHERE, skin=4e-3, cells=(7, 7, 7, 2))
FINGER = replace(BIOTAC_SP, cells=(8, 8, 11, 2))
BULK = TipShape(
    **{name: 0.03 for name in ("half_width", "distal", "proximal", "height")},
    skin=0.012,
    reach=0.6,
    young=0.2e6,
    poisson=0.45,
    friction=0.5,
    cells=(9, 9, 9, 4),
    focus=0.85,
)
"""A gently curved thick skin with small facets at the middle: nearly a half-space for a small ball."""


def plate(points: np.ndarray) -> np.ndarray:
    return points[:, 2]


def ball(radius: float, x: float = 0.0, y: float = 0.0) -> Callable[[np.ndarray], np.ndarray]:
    return lambda points: np.linalg.norm(points - np.array([x, y, -radius]), axis=1) - radius


def normal_load(contact: TipContact) -> np.ndarray:
    return (contact.pressure * contact.areas).sum(axis=-1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tips")


@pytest.fixture(scope="module")
def dome(cache: Path) -> SoftTip:
    return SoftTip(DOME, cache)


@pytest.fixture(scope="module")
def smooth_dome(cache: Path) -> SoftTip:
    return SoftTip(replace(DOME, friction=0.0), cache)


@pytest.fixture(scope="module")
def finger(cache: Path) -> SoftTip:
    return SoftTip(FINGER, cache)


@pytest.fixture(scope="module")
def bulk(cache: Path) -> SoftTip:
    return SoftTip(BULK, cache)


# The condensation against the full mesh


def full_contact(shape: TipShape, gap: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frictionless contact on all unknowns of the mesh: an active set on the saddle-point system, no compliance anywhere."""
    stiffness, loads, _ = assemble(shape)
    stiffness = stiffness * shape.young
    n = gap.size
    along = sp.csc_matrix((normals.ravel(), (np.arange(3 * n), np.repeat(np.arange(n), 3))), shape=(3 * n, n))
    push = (loads @ along).tocsc()
    active = gap < 0
    for _ in range(30):
        some = np.flatnonzero(active)
        system = sp.bmat([[stiffness, -push[:, some]], [push[:, some].T, None]]).tocsc()
        answer = spla.spsolve(system, np.concatenate([np.zeros(stiffness.shape[0]), -gap[some]]))
        moved, force = answer[: stiffness.shape[0]], np.zeros(n)
        force[some] = answer[stiffness.shape[0] :]
        fresh = np.where(active, force > 0, push.T @ moved + gap < -1e-12)
        if (fresh == active).all():
            return force, (loads.T @ moved).reshape(n, 3)
        active = fresh
    raise AssertionError("the full solve does not settle")


def test_a_condensed_press_is_the_full_finite_element_press(cache):
    shape = replace(DOME, cells=(4, 4, 4, 2), friction=0.0)
    tip = SoftTip(shape, cache)
    contact = press(tip, ball(6e-3, 1e-3, -5e-4), depth=8e-4)
    gap = np.linalg.norm(tip.surface.samples - contact_centre(tip, contact), axis=2).mean(axis=1) - 6e-3
    force, moved = full_contact(shape, gap, contact.normals)
    np.testing.assert_allclose(contact.pressure * contact.areas, force, atol=1e-2 * force.max())
    np.testing.assert_allclose(contact.force, force @ contact.normals, atol=1e-3 * force.sum())
    np.testing.assert_allclose(contact.displacement, moved, atol=1e-3 * np.abs(moved).max())


def contact_centre(tip: SoftTip, contact: TipContact) -> np.ndarray:
    """Where the ball of that press ended: it starts at z = -6 mm and first touches a sphere about (0, 0, R)."""
    radius, high = 6e-3, tip.shape.height
    first = high - np.sqrt((radius + high) ** 2 - 1e-3**2 - 5e-4**2)
    return np.array([1e-3, -5e-4, first + float(contact.approach)])


@pytest.mark.slow
@pytest.mark.parametrize("friction", [0.0, 0.8])
def test_a_finer_mesh_changes_the_force_by_less_than_five_percent(cache, friction):
    tips = [SoftTip(replace(BIOTAC_SP, cells=cells, friction=friction), cache) for cells in ((10, 10, 14, 3), (14, 14, 19, 3))]
    for thing, depths in ((plate, (4e-4, 8e-4, 1.2e-3)), (ball(15e-3, 1e-3, 1e-3), (6e-4, 1e-3))):
        coarse, fine = (press(tip, thing, depth=np.array(depths)).force[:, 2] for tip in tips)
        np.testing.assert_allclose(coarse, fine, rtol=0.05)


# Theory


def test_a_small_ball_on_a_thick_skin_obeys_hertz(cache):
    tip = SoftTip(replace(BULK, friction=0.0), cache)
    radius, depth = 6e-3, np.array([2e-4, 3e-4, 4e-4])
    reduced = 1 / (1 / radius + 1 / BULK.half_width)
    contact = press(tip, ball(radius), depth=depth)
    hertz = 4 / 3 * BULK.young / (1 - BULK.poisson**2) * np.sqrt(reduced) * depth**1.5
    ratio = contact.force[:, 2] / hertz
    assert (ratio > 1.0).all() and (ratio < 1.15).all()  # a skin of finite thickness is stiffer, 10 a deep by some percent
    np.testing.assert_allclose(np.sqrt(contact.contact_area / np.pi), np.sqrt(reduced * depth), atol=2e-4)  # under a facet


def test_partial_slip_follows_mindlin(bulk):
    radius, depth, mu = 6e-3, 2e-4, BULK.friction
    held = press(bulk, ball(radius), depth=depth)
    shear_modulus = BULK.young / 2 / (1 + BULK.poisson)
    contact_radius = np.sqrt(depth / (1 / radius + 1 / BULK.half_width))
    slide = 3 * mu * held.force[2] * (2 - BULK.poisson) / (16 * shear_modulus * contact_radius)
    share = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    pull = np.array([press(bulk, ball(radius), depth=depth, shift=(k * slide, 0), before=held).force[0] for k in share])
    mindlin = 1 - (1 - share) ** 1.5
    np.testing.assert_allclose(pull / (mu * held.force[2]), mindlin, atol=0.1)
    assert (np.diff(pull, 2) < 0).all()  # ever softer as slip eats into the contact


# Known loads


@pytest.mark.parametrize("load", [0.1, 1.0, 10.0])
def test_a_known_load_comes_back_from_every_read_out(finger, load):
    contact = press(finger, plate, force=load)
    taxels = biotac_sp_taxels(finger)
    everywhere = region_force(contact, normal=np.array([0.0, 0.0, 1.0]))
    for reading in (
        contact.force[2],
        normal_load(contact),
        (contact.traction[:, 2] * contact.areas).sum(),
        taxel_forces(contact, taxels).sum(axis=0)[2],
        force_field(contact, (20, 20)).sum(axis=(0, 1))[2],
        everywhere,
    ):
        np.testing.assert_allclose(reading, load, rtol=0.02)
    np.testing.assert_allclose(contact.force[2], load, rtol=1e-4)


def test_depth_and_force_are_inverse_to_each_other(dome):
    for thing in (plate, ball(4e-3, 1e-3, 2e-3)):
        for depth in (2e-4, 1.2e-3):
            load = press(dome, thing, depth=depth).force[2]
            np.testing.assert_allclose(press(dome, thing, force=load).approach, depth, rtol=1e-3)


def test_a_tilted_box_with_sharp_edges_is_met_and_its_load_balanced(finger):
    turn = np.linalg.qr(np.random.default_rng(8).normal(size=(3, 3)))[0]

    def box(points: np.ndarray) -> np.ndarray:
        apart = np.abs((points - [1e-3, 2e-3, -0.02]) @ turn) - 6e-3
        return np.linalg.norm(np.maximum(apart, 0), axis=1) + np.minimum(apart.max(axis=1), 0)

    contact = press(finger, box, force=0.3)
    np.testing.assert_allclose(contact.force[2], 0.3, rtol=1e-3)
    assert 0 < contact.approach < FINGER.skin
    np.testing.assert_allclose(press(finger, box, depth=float(contact.approach)).force[2], 0.3, rtol=1e-2)


def test_distances_to_a_plate_give_nearly_what_the_plate_gives(dome):
    distances = dome.surface.points[:, 2] / np.abs(dome.surface.normals[:, 2])
    for depth in (3e-4, 8e-4):
        np.testing.assert_allclose(
            press(dome, distances, depth=depth).force[2], press(dome, plate, depth=depth).force[2], rtol=0.08
        )


def test_an_object_beside_the_tip_presses_its_steep_wall(smooth_dome):
    wall = press(smooth_dome, lambda points: points[:, 0] + 9e-3, force=0.5, along=(1.0, 0.0, 0.0))
    np.testing.assert_allclose(wall.force, [0.5, 0, 0], atol=1e-3)
    assert (wall.points[wall.pressure > 0, 0] < -5e-3).all()
    assert (wall.normals[wall.pressure > 0, 0] > 0.9).all()


# Friction


def random_press(tip: SoftTip, rng: np.random.Generator, before: TipContact | None = None) -> TipContact:
    x, y = rng.uniform(-3e-3, 3e-3, 2)
    return press(
        tip,
        ball(rng.uniform(2e-3, 30e-3), x, y),
        depth=rng.uniform(1e-4, 1.5e-3),
        shift=rng.uniform(-8e-4, 8e-4, 2).tolist(),
        twist=rng.uniform(-0.2, 0.2),
        before=before,
    )


@pytest.mark.parametrize("seed", range(6))
def test_coulombs_cone_is_nowhere_violated_and_nothing_pulls_or_overlaps(dome, finger, seed):
    rng = np.random.default_rng(seed)
    for tip in (dome, finger):
        contact = None
        for _ in range(3):
            contact = random_press(tip, rng, contact)
            assert (contact.pressure >= 0).all() and contact.pressure.max() > 0
            size = np.linalg.norm(contact.shear, axis=1)
            assert (size <= tip.shape.friction * contact.pressure * (1 + 1e-6) + 1e-6 * contact.pressure.max()).all()
            np.testing.assert_allclose((contact.shear * contact.normals).sum(axis=1), 0, atol=1e-9 * contact.pressure.max())


def test_no_facet_is_left_inside_a_plate(dome):
    contact = press(dome, plate, depth=8e-4)
    height = dome.surface.points[:, 2] - 8e-4 + contact.displacement[:, 2]
    assert height.min() > -1e-7
    np.testing.assert_allclose(height[contact.pressure > 0], 0, atol=2e-7)


def test_full_slip_carries_mu_times_the_normal_load(dome):
    slid = press(dome, plate, depth=6e-4, shift=(8e-3, 0))
    np.testing.assert_allclose(slid.force[0], DOME.friction * normal_load(slid), rtol=1e-4)
    np.testing.assert_allclose(slid.force[1], 0, atol=1e-3 * slid.force[0])
    spun = press(dome, plate, depth=6e-4, twist=2.0)
    np.testing.assert_allclose(spun.force[:2], 0, atol=1e-3 * normal_load(spun))
    arm = np.hypot(*spun.points[:, :2].T)
    np.testing.assert_allclose(spun.torque[2], DOME.friction * (spun.pressure * spun.areas * arm).sum(), rtol=0.02)


def test_a_tangential_loop_dissipates_and_a_tiny_one_does_not(dome):
    def work(size: float) -> float:
        contact, total = press(dome, plate, depth=6e-4), 0.0
        peak = np.concatenate([np.full(4, size), np.full(8, -size), np.full(8, size)])  # the last loop is closed
        pulls = [contact.force[0]]
        for step in peak:
            contact = press(dome, plate, depth=6e-4, shift=(step, 0), before=contact)
            pulls.append(contact.force[0])
        for k in range(4, len(peak)):
            total += (pulls[k] + pulls[k + 1]) / 2 * peak[k]
        return total

    big, tiny = work(2e-4), work(1e-6)
    assert big > 0.05 * DOME.friction * 0.5 * 1.6e-3
    stored = 0.5 * 4e-6 * press(dome, plate, depth=6e-4, shift=(4e-6, 0)).force[0]
    assert abs(tiny) < 0.1 * stored


def test_a_contact_that_is_not_moved_keeps_its_state(dome):
    held = press(dome, plate, depth=6e-4, shift=(2e-4, 1e-4))
    again = press(dome, plate, depth=6e-4, before=held)
    np.testing.assert_allclose(again.traction, held.traction, atol=2e-4 * held.pressure.max())
    gone = press(dome, plate, depth=0.0, before=held)
    assert not gone.traction.any() and not gone.displacement.any()


def test_history_matters(dome):
    there = press(dome, plate, depth=6e-4, shift=(1e-3, 0))
    back = press(dome, plate, depth=6e-4, shift=(-1e-3, 0), before=there)
    assert back.force[0] < -0.05 * there.force[0]  # slipped on the way there, so it ends up pulled the other way


# Symmetries


def test_a_mirrored_object_gives_the_mirrored_contact(finger):
    rows, cols = finger.surface.grid
    one, other = (press(finger, ball(5e-3, x, 2e-3), depth=7e-4, shift=(s, 1e-4)) for x, s in ((2e-3, 2e-4), (-2e-3, -2e-4)))
    flip = np.arange(rows * cols).reshape(rows, cols)[:, ::-1].ravel()
    scale = one.pressure.max()
    np.testing.assert_allclose(other.pressure[flip], one.pressure, atol=1e-4 * scale)
    np.testing.assert_allclose(other.shear[flip] * [-1, 1, 1], one.shear, atol=1e-4 * scale)
    np.testing.assert_allclose(other.force * [-1, 1, 1], one.force, atol=1e-4 * one.force[2])
    np.testing.assert_allclose(other.torque * [1, -1, -1], one.torque, atol=1e-4 * one.force[2] * 7e-3)


def test_a_turned_object_gives_the_turned_contact_on_a_round_tip(dome):
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    one = press(dome, ball(5e-3, 2e-3, 1e-3), depth=7e-4, shift=(2e-4, 1e-4))
    other = press(dome, ball(5e-3, -1e-3, 2e-3), depth=7e-4, shift=(-1e-4, 2e-4))
    np.testing.assert_allclose(other.force, turn @ one.force, atol=1e-4 * one.force[2])
    np.testing.assert_allclose(other.torque, turn @ one.torque, atol=1e-4 * one.force[2] * 8e-3)


def test_a_batch_is_its_singles(dome):
    rng = np.random.default_rng(4)
    gaps = dome.surface.points[:, 2] + rng.uniform(0, 2e-4, (2, 3, 1)) * (dome.surface.points[:, 0] * 300) ** 2
    depth = rng.uniform(2e-4, 1e-3, (2, 3))
    depth[0, 1] = 0.0
    held = press(dome, gaps, depth=5e-4)
    both = press(dome, gaps, depth=depth, shift=(1e-4, 0), before=held)
    assert both.pressure.shape == (2, 3, dome.surface.areas.size) and both.force.shape == (2, 3, 3)
    for index in np.ndindex(2, 3):
        last = press(dome, gaps[index], depth=5e-4)
        alone = press(dome, gaps[index], depth=depth[index], shift=(1e-4, 0), before=last)
        np.testing.assert_array_equal(alone.pressure, both.pressure[index])
        np.testing.assert_array_equal(alone.displacement, both.displacement[index])
    assert not both.traction[0, 1].any()


# Nothing, and bad input


@pytest.mark.parametrize("how", [{"depth": 0.0}, {"depth": -1e-3}, {"force": 0.0}])
def test_no_contact_is_exactly_zero(dome, how):
    contact = press(dome, plate, **how)
    for value in (contact.pressure, contact.shear, contact.displacement, contact.force, contact.torque, contact.approach):
        assert not value.any()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "exactly one"),
        ({"depth": 1e-4, "force": 1.0}, "exactly one"),
        ({"depth": np.nan}, "finite"),
        ({"depth": 0.5}, "is it in mm"),
        ({"force": -1.0}, "0 or more"),
        ({"depth": 1e-4, "along": (0, 0, 0)}, "along"),
        ({"depth": 1e-4, "along": (0, 0, -1)}, "never meets"),
        ({"depth": 1e-4, "shift": (1,)}, "shift"),
        ({"depth": 1e-4, "twist": np.inf}, "twist"),
    ],
)
def test_a_bad_press_says_what_is_wrong(dome, how, message):
    with pytest.raises(RecordError, match=message):
        press(dome, plate, **how)


def test_bad_gaps_say_what_is_wrong(dome, finger):
    flat = dome.surface.points[:, 2]
    for gap, message in (
        (flat[:-1], "facets"),
        (np.where(flat > 1e-3, np.nan, flat), "NaN"),
        (np.full_like(flat, np.inf), "never meets"),
    ):
        with pytest.raises(RecordError, match=message):
            press(dome, gap, depth=1e-4)
    with pytest.raises(RecordError, match="one finite signed distance"):
        press(dome, lambda points: points, depth=1e-4)
    with pytest.raises(RecordError, match="same tip"):
        press(dome, plate, depth=1e-4, before=press(finger, plate, depth=1e-4))
    with pytest.raises(SimulationError, match="smaller force"):
        press(dome, plate, force=1e4)
    partly = press(dome, np.where(flat > 1e-3, np.inf, flat), depth=2e-4)
    assert partly.pressure.max() > 0 and np.isfinite(partly.displacement).all()


@pytest.mark.parametrize(
    "change",
    [
        {"young": 0.0},
        {"poisson": 0.5},
        {"friction": -0.1},
        {"skin": 0.01},
        {"reach": 2.0},
        {"cells": (3, 3, 3)},
        {"height": np.nan},
    ],
)
def test_constants_that_make_no_tip_are_refused(change):
    with pytest.raises(RecordError, match=next(iter(change))):
        replace(HEMISPHERE, **change)
