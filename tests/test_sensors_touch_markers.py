from dataclasses import replace

import numpy as np
import pytest

from palpate.core.errors import RecordError
from palpate.sensors.touch import markers
from palpate.sensors.touch.catalog import get_sensor
from palpate.sensors.touch.contact import Contact, Pad, cell_centres
from palpate.sensors.touch.flat import press
from palpate.sensors.touch.markers import MarkerGrid
from palpate.sensors.touch.rest import GelFigures, marker_points

GRID = MarkerGrid(rows=9, cols=9, pitch=(0.0015, 0.0015), radius=0.0003)
PITCH = (0.25e-3, 0.25e-3)
Y, X = cell_centres((64, 64), PITCH)


def contact(drift=None, sunk=None):
    flat = np.zeros((64, 64))
    return Contact(
        pitch=PITCH,
        pressure=flat,
        shear=np.zeros((64, 64, 2)),
        sunk=flat if sunk is None else sunk,
        drift=np.zeros((64, 64, 2)) if drift is None else drift,
        approach=np.zeros(()),
    )


def curl_and_divergence(field):
    """Of a vector field (R, C, 2) on a regular grid, in units of one over its spacing."""
    curl = np.gradient(field[..., 1], axis=1) - np.gradient(field[..., 0], axis=0)
    return curl, np.gradient(field[..., 0], axis=1) + np.gradient(field[..., 1], axis=0)


@pytest.fixture(scope="module")
def pressed_ball():
    pad = Pad(width=0.016, height=0.016, thickness=0.003, young=0.2e6, poisson=0.48)
    return press(pad, (X**2 + Y**2) / (2 * 0.004), PITCH, force=1.5)


@pytest.mark.parametrize("inlay", [0.0, 0.0005])
def test_a_straight_press_moves_markers_radially_and_without_curl(pressed_ball, inlay):
    rest = GRID.points()
    moved = markers.displacement(rest, pressed_ball, inlay)
    size = np.abs(moved).max()
    assert size > 1e-6
    across = rest[:, 0] * moved[:, 1] - rest[:, 1] * moved[:, 0]
    radius = np.linalg.norm(rest, axis=1)
    assert np.abs(across[radius > 0] / radius[radius > 0]).max() < 0.03 * size, "along the radius only"
    square = moved.reshape(9, 9, 2)
    for turned in (square[::-1] * (1, -1), square[:, ::-1] * (-1, 1), square.transpose(1, 0, 2)[..., ::-1]):
        np.testing.assert_allclose(turned, square, atol=1e-3 * size)
    fine = replace(GRID, rows=31, cols=31, pitch=(0.0005, 0.0005))
    curl, divergence = curl_and_divergence(markers.displacement(fine.points(), pressed_ball, inlay).reshape(31, 31, 2))
    assert np.abs(curl).max() < 0.08 * np.abs(divergence).max(), (
        "finite differences across the rim of the contact leave a little"
    )


def test_a_dragged_ball_drags_the_markers_below_it_and_a_turned_one_turns_them():
    pad = Pad(width=0.016, height=0.016, thickness=0.003, young=0.2e6, poisson=0.48, friction=1.0)
    gap = (X**2 + Y**2) / (2 * 0.008)
    straight = press(pad, gap, PITCH, force=2.0)
    rest = GRID.points()
    below = np.linalg.norm(rest, axis=1) < 0.8 * straight.contact_radius
    assert below.sum() >= 5

    def moved(**motion):
        after = press(pad, gap, PITCH, force=2.0, before=straight, **motion)
        return markers.displacement(rest, after) - markers.displacement(rest, straight)

    dragged = moved(shift=(1e-4, -0.5e-4))
    np.testing.assert_allclose(dragged[below].mean(axis=0), (1e-4, -0.5e-4), rtol=0.25)
    assert np.abs(dragged).max() < 1.3e-4, "nothing moves further than what drags it"
    turned = moved(twist=0.02)
    across = (rest[:, 0] * turned[:, 1] - rest[:, 1] * turned[:, 0])[below]
    assert np.all(across >= 0) and across.max() > 0
    assert np.abs(turned[below].mean(axis=0)).max() < 1e-7
    angle = across.sum() / (rest[below] ** 2).sum()
    np.testing.assert_allclose(angle, 0.02, rtol=0.3)


def test_a_buried_marker_is_spread_outwards_by_the_tilt_above_it():
    sunk = 5e-4 * np.exp(-(X**2 + Y**2) / (2 * 0.002**2))
    rest = GRID.points()
    moved = markers.displacement(rest, contact(sunk=sunk), inlay=4e-4)
    expected = 4e-4 * rest / 0.002**2 * (5e-4 * np.exp(-(rest**2).sum(axis=1) / (2 * 0.002**2)))[:, None]
    np.testing.assert_allclose(moved, expected, atol=0.02 * np.abs(expected).max())
    assert np.all((moved * rest).sum(axis=1) >= 0)


def test_shear_translates_markers():
    drift = np.broadcast_to([1.2e-4, -0.7e-4], (64, 64, 2)).copy()
    np.testing.assert_allclose(
        markers.displacement(GRID.points(), contact(drift)), np.tile([1.2e-4, -0.7e-4], (81, 1)), rtol=1e-12
    )


def test_twist_rotates_markers():
    angle = 0.05
    drift = angle * np.stack(np.broadcast_arrays(-Y, X), axis=-1)
    moved = markers.displacement(GRID.points(), contact(drift)).reshape(9, 9, 2)
    curl, divergence = curl_and_divergence(moved)
    np.testing.assert_allclose(curl, 2 * angle * GRID.pitch[0], rtol=1e-9)
    np.testing.assert_allclose(divergence, 0.0, atol=1e-12)
    np.testing.assert_allclose(moved[4, 4], 0.0, atol=1e-15)


def test_without_contact_no_marker_moves():
    for inlay in (0.0, 1e-3):
        np.testing.assert_array_equal(markers.displacement(GRID.points(), contact(), inlay), 0.0)


def test_a_batch_moves_as_its_members_do():
    fields = np.random.default_rng(0).normal(size=(3, 2, 64, 64, 2))
    batch = replace(contact(), drift=fields, sunk=np.zeros((3, 2, 64, 64)))
    together = markers.displacement(GRID.points(), batch, inlay=1e-4)
    assert together.shape == (3, 2, 81, 2)
    np.testing.assert_allclose(together[2, 1], markers.displacement(GRID.points(), contact(fields[2, 1]), 1e-4), rtol=1e-12)


def test_sampling_is_exact_for_linear_fields_and_holds_at_the_border():
    field = np.stack(np.broadcast_arrays(3 * X - 2 * Y, Y, X), axis=-1)
    points = np.random.default_rng(0).uniform(-0.0078, 0.0078, (200, 2))
    read = markers.sample(field, points, PITCH)
    np.testing.assert_allclose(
        read, np.stack([3 * points[:, 0] - 2 * points[:, 1], points[:, 1], points[:, 0]], axis=1), atol=1e-12
    )
    outside = markers.sample(field, np.array([[1.0, 1.0]]), PITCH)
    np.testing.assert_allclose(outside[0, 1:], [Y[-1, 0], X[0, -1]])


def test_pixels_and_metres_convert_both_ways():
    shape, view = (320, 240), (0.019, 0.016)
    corners = markers.to_pixels(np.array([[0.0, 0.0], [-0.008, -0.0095]]), shape, view)
    np.testing.assert_allclose(corners, [[119.5, 159.5], [-0.5, -0.5]], atol=1e-9)
    points = np.random.default_rng(0).uniform(-0.008, 0.008, (5, 7, 2))
    np.testing.assert_allclose(markers.from_pixels(markers.to_pixels(points, shape, view), shape, view), points, atol=1e-15)


def test_markers_of_a_gel_are_not_evenly_aligned_and_those_of_another_lie_elsewhere():
    one, again, other = (marker_points(GRID, GelFigures(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    for points in (one, other):
        off = np.linalg.norm(points - GRID.points(), axis=1) / GRID.pitch[0]
        assert 0.01 < off.mean() < 0.3
    assert np.abs(one - other).max() > 1e-5
    lone = marker_points(GRID, GelFigures(marker_jitter=0.1, marker_skew=0.0), np.random.default_rng(0)) - GRID.points()
    np.testing.assert_allclose(lone.std(axis=0), 0.1 * 0.0015, rtol=0.25)
    np.testing.assert_array_equal(
        marker_points(GRID, GelFigures(marker_jitter=0.0, marker_skew=0.0), np.random.default_rng(0)), GRID.points()
    )


def test_a_drawn_dot_has_its_area_and_its_place_to_a_fraction_of_a_pixel():
    for centre in ((20.0, 30.0), (20.3, 30.45), (19.75, 30.9)):
        cover = markers.coverage(np.array([centre]), (5.0, 5.0), (64, 48))
        np.testing.assert_allclose(cover.sum(), np.pi * 25, rtol=0.01)
        y, x = np.mgrid[:64, :48]
        np.testing.assert_allclose([(cover * x).sum() / cover.sum(), (cover * y).sum() / cover.sum()], centre, atol=0.03)


def test_dots_outside_the_picture_are_cut_and_lost_ones_are_left_out():
    half = markers.coverage(np.array([[-0.5, 30.0]]), (5.0, 5.0), (64, 48))
    np.testing.assert_allclose(half.sum(), np.pi * 25 / 2, rtol=0.02)
    nowhere = np.array([[1e12, 0.0], [np.nan, 3.0], [-30.0, 20.0]])
    assert not markers.coverage(nowhere, (5.0, 5.0), (64, 48)).any()


def test_dots_darken_the_picture_by_their_share():
    image = np.full((64, 48, 3), 200.0, np.float32)
    out = markers.draw(image, np.array([[20.0, 30.0]]), (5.0, 5.0), (0.8, 0.5, 0.0))
    np.testing.assert_allclose(out[30, 20], [40, 100, 200], rtol=1e-5)
    np.testing.assert_array_equal(out[:20], 200.0)
    with pytest.raises(RecordError, match="frame by frame"):
        markers.draw(image[..., 0], np.zeros((1, 2)), (5.0, 5.0), (1, 1, 1))


def test_every_catalogued_grid_is_drawn_where_it_is_reported():
    model = get_sensor("gelsight-2017")
    pixels = markers.to_pixels(model.markers.points(), model.picture_shape, model.field_of_view)
    cover = markers.coverage(pixels, (model.markers.radius / model.pixel[0],) * 2, model.picture_shape)
    inside = np.rint(pixels).astype(int)
    np.testing.assert_allclose(cover[inside[:, 1], inside[:, 0]], 1.0)
    assert 0.05 < cover.mean() < 0.3
