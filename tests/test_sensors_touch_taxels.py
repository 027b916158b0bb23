"""Forces read out of contacts: taxels, regions and fields lose no force and put it in its place."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from palpate.core.errors import RecordError
from palpate.sensors.touch.contact import Contact
from palpate.sensors.touch.taxels import (
    Taxels,
    biotac_sp_taxels,
    flat_points,
    force_field,
    local_forces,
    region_force,
    spread_taxels,
    taxel_forces,
)
from palpate.sensors.touch.tip import SoftTip, TipContact, press
from palpate.sensors.touch.tip_mesh import BIOTAC_SP, HEMISPHERE


def ball(radius: float, x: float, y: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda points: np.linalg.norm(points - np.array([x, y, -radius]), axis=1) - radius


@pytest.fixture(scope="module")
def dome(tmp_path_factory: pytest.TempPathFactory) -> SoftTip:
    return SoftTip(replace(HEMISPHERE, skin=4e-3, cells=(6, 6, 6, 2)), tmp_path_factory.mktemp("tips"))


@pytest.fixture(scope="module")
def finger(tmp_path_factory: pytest.TempPathFactory) -> SoftTip:
    return SoftTip(replace(BIOTAC_SP, cells=(8, 8, 11, 2)), tmp_path_factory.mktemp("tips"))


def rubbed(tip: SoftTip) -> TipContact:
    return press(tip, ball(9e-3, 2e-3, -1e-3), depth=9e-4, shift=(3e-4, -5e-4), twist=0.1)


def flat_contact(rng: np.random.Generator, *lead: int, shape: tuple[int, int] = (60, 80)) -> Contact:
    zero = np.zeros((*lead, *shape))
    return Contact(
        pitch=(3e-4, 2e-4),
        pressure=rng.uniform(0, 1e5, (*lead, *shape)),
        shear=rng.uniform(-4e4, 4e4, (*lead, *shape, 2)),
        sunk=zero,
        drift=np.zeros((*lead, *shape, 2)),
        approach=np.zeros(lead),
    )


@pytest.mark.parametrize("grid", [(20, 20), (7, 13), (1, 1), (120, 90)])
def test_a_force_field_adds_up_to_the_net_force(dome, grid):
    rng = np.random.default_rng(0)
    flat = flat_contact(rng, 2, 3)
    curved = rubbed(dome)
    for contact, lead in ((flat, (2, 3)), (curved, ())):
        field = force_field(contact, grid)
        assert field.shape == (*lead, *grid, 3)
        np.testing.assert_allclose(field.sum(axis=(-3, -2)), contact.force, rtol=1e-12, atol=1e-12)


def test_a_force_field_puts_each_force_in_its_place(dome):
    flat = flat_contact(np.random.default_rng(1))
    flat = replace(flat, pressure=np.ones((60, 80)), shear=np.zeros((60, 80, 2)))
    np.testing.assert_allclose(force_field(flat, (7, 9))[..., 2], 60 * 80 * 6e-8 / 63, rtol=1e-12)
    flat.pressure[:] = 0
    flat.pressure[59, 0] = 1.0
    assert np.argmax(force_field(flat, (20, 20))[..., 2]) == 19 * 20
    field = force_field(press(dome, ball(3e-3, 3e-3, -3e-3), depth=5e-4), (10, 10))[..., 2]
    row, col = np.unravel_index(np.argmax(field), field.shape)
    assert row < 5 <= col


def test_taxels_share_every_force_and_feel_what_is_near(finger):
    taxels = biotac_sp_taxels(finger)
    assert taxels.weights.shape[0] == 24 and taxels.estimate
    rng = np.random.default_rng(2)
    contact = rubbed(finger)
    np.testing.assert_allclose(taxel_forces(contact, taxels).sum(axis=0), contact.force, atol=1e-12)
    near = press(finger, ball(3e-3, 3e-3, 5e-3), force=1.0)
    reading = taxel_forces(near, taxels)[:, 2]
    place = np.linalg.norm(taxels.positions[:, :2] - [3e-3, 5e-3], axis=1)
    assert place[np.argmax(reading)] < 4e-3
    assert (reading > 0.05).sum() >= 3  # regions are wide
    flat = flat_contact(rng, 4, shape=(12, 16))
    points = flat_points((12, 16), flat.pitch)
    grid = spread_taxels(points[::31], np.tile([0.0, 0, 1], (len(points[::31]), 1)), points, 1e-3)
    np.testing.assert_allclose(taxel_forces(flat, grid).sum(axis=-2), flat.force, rtol=1e-12, atol=1e-12)


def test_local_axes_turn_a_push_along_the_normal_into_the_third_reading(finger):
    taxels = biotac_sp_taxels(finger)
    np.testing.assert_allclose(local_forces(2.0 * taxels.normals, taxels), np.tile([0, 0, 2.0], (24, 1)), atol=1e-12)
    some = np.random.default_rng(3).normal(size=(5, 24, 3))
    np.testing.assert_allclose(np.linalg.norm(local_forces(some, taxels), axis=-1), np.linalg.norm(some, axis=-1), rtol=1e-12)


def test_regions_split_the_load_and_feel_along_their_normal(dome):
    contact = press(dome, ball(8e-3, 1e-3, 0), force=1.0)
    right = dome.surface.points[:, 0] > 0
    up = np.array([0.0, 0, 1])
    halves = region_force(contact, right, up), region_force(contact, ~right, up)
    np.testing.assert_allclose(sum(halves), 1.0, rtol=1e-3)
    assert halves[0] > 2 * halves[1] > 0
    flat = flat_contact(np.random.default_rng(5), 3)
    np.testing.assert_allclose(region_force(flat), flat.force[:, 2], rtol=1e-12)
    with pytest.raises(RecordError, match="surface elements"):
        region_force(flat, right)
    with pytest.raises(RecordError, match="above 0"):
        region_force(contact, np.zeros(right.size))


def test_taxels_that_would_lose_force_are_refused():
    with pytest.raises(RecordError, match="add up to 1"):
        Taxels(positions=np.zeros((1, 3)), normals=np.eye(3)[2:], weights=np.full((1, 4), 0.5))
    with pytest.raises(RecordError, match="must be"):
        Taxels(positions=np.zeros((2, 3)), normals=np.eye(3)[2:], weights=np.ones((1, 4)))
    with pytest.raises(RecordError, match="positive"):
        spread_taxels(np.zeros((1, 3)), np.eye(3)[2:], np.zeros((4, 3)), 0.0)
