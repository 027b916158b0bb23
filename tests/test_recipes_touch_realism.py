import cv2
import numpy as np
import pytest

from palpate.core.errors import DataError
from palpate.core.randomness import generator
from palpate.evaluation.figures_realism import side_by_side
from palpate.recipes import touch_realism as look
from palpate.recipes import touch_roundtrip as trip
from palpate.sensors.touch.catalog import get_sensor
from palpate.sensors.touch.noise import coloured
from palpate.sensors.touch.sensor import TouchSensor
from palpate.sensors.touch.workbench import BallSensor

SHAPE = (120, 160)
BALL = 3e-3
CIRCLE = (90.0, 50.0, 11.0)


@pytest.fixture(scope="module")
def unit():
    return TouchSensor(trip.under_lamps(get_sensor("gelsight-mini"), SHAPE), 3)


@pytest.fixture(scope="module")
def ball(unit):
    return BallSensor(
        shape=SHAPE,
        pitch=unit.model.pixel,
        ball_radius=BALL,
        thickness=unit.model.pad.thickness,
        poisson=unit.model.pad.poisson,
    )


@pytest.mark.parametrize("slope", [0.0, 1.5, 3.0])
def test_the_slope_of_a_spectrum_is_found_again(slope):
    picture = coloured((240, 320), slope, generator(0))[..., 0]
    assert look.spectrum_slope(picture) == pytest.approx(slope, abs=0.25)


def test_contrast_names_levels_and_colours():
    y, x = np.mgrid[:100, :120].astype(np.float32)
    grey = np.stack([10 * np.sin(x / 5)] * 3, axis=-1)[None] + np.array([1.0, 2.0, 3.0])
    figures = look.contrast(grey)
    np.testing.assert_allclose(figures.mean, 10 * np.sin(x / 5).mean() + np.array([1, 2, 3]), atol=1e-3)
    np.testing.assert_allclose(figures.std, 10 / np.sqrt(2), rtol=0.02)
    np.testing.assert_allclose(figures.correlation, 1, atol=1e-5)
    assert figures.colour < 1e-4
    apart = np.stack([10 * np.sin(x / 5), 10 * np.sin(y / 5), np.zeros_like(x)], axis=-1)[None]
    assert look.contrast(apart).colour > 5
    with pytest.raises(DataError, match="at least one picture"):
        look.contrast(grey[0])


def test_flicker_finds_the_noise_that_was_added():
    rng = generator(1)
    still = rng.uniform(60, 200, size=(64, 80, 3))
    noise = rng.normal(0, 3.0, size=(12, 64, 80, 3))
    frames = np.rint(still + noise).astype(np.uint8)
    found = look.flicker(frames)
    assert found.std == pytest.approx(np.sqrt(9 + 1 / 12), rel=0.03)
    assert abs(found.correlation) < 0.05 and abs(found.neighbour) < 0.05 and abs(found.slope) < 0.3
    assert found.frozen == 0 and found.pairs == 11
    frames[:, :, :40] = frames[0, :, :40]
    assert look.flicker(frames).frozen == pytest.approx(0.5)
    with pytest.raises(DataError, match="needs 12 or more"):
        look.flicker(frames[:5], lag=11)


def test_noise_of_a_simulated_sensor_is_that_of_its_figures(unit):
    rng = generator(2)
    frames = np.stack([unit.sense(None, rng).image for _ in range(6)])
    # Rounding to whole levels adds a twelfth.
    assert look.flicker(frames).std == pytest.approx(np.sqrt(unit.model.noise.frame**2 + 1 / 12), rel=0.15)


def test_quiet_pictures_and_the_strongest_one_are_found():
    rng = generator(3)
    frames = rng.normal(100, 1, size=(20, 60, 80, 3))
    frames[8:14, 20:40, 30:50] += 5 * np.array([2, 4, 8, 9, 5, 3])[:, None, None, None]
    frames = np.clip(np.rint(frames), 0, 255).astype(np.uint8)
    rest = np.median(frames[:6], axis=0)
    assert look.quiet(frames, rest).tolist() == [not 8 <= k < 14 for k in range(20)]
    best, change = look.strongest(frames, rest)
    assert best == 11 and change == pytest.approx(45, abs=4)


def test_rings_hold_what_lies_in_them():
    y, x = np.mgrid[:100, :100]
    distance = np.hypot(x - 50, y - 50) / 20
    change = np.where(distance < 0.5, 8.0, np.where(distance < 1.1, 3.0, 0.0))[..., None] * np.ones(3)
    np.testing.assert_allclose(look.ring_profile(change, (50.0, 50.0), 20.0), [8, 3, 3, 0, 0, 0, 0], atol=1e-9)
    far_ring = look.ring_profile(change[40:60, 40:60], (10.0, 10.0), 20.0)
    assert np.isnan(far_ring[-1])


def test_a_blurred_rim_is_less_steep_and_grain_is_only_fine(unit):
    y, x = np.mgrid[:100, :100]
    disc = np.where(np.hypot(x - 50, y - 50) < 20, 40.0, 0.0)[..., None] * np.ones(3)
    soft = cv2.GaussianBlur(disc, (0, 0), 4)
    centre = (50.0, 50.0)
    assert look.rim_steepness(soft, centre, 20.0) < 0.6 * look.rim_steepness(disc, centre, 20.0)
    rng = generator(4)
    noisy = soft + rng.normal(0, 2, size=soft.shape)
    where = look.far((100, 100), centre, 10.0, 4.0)
    assert look.grain(soft, where) < 0.3
    assert look.grain(noisy, where) == pytest.approx(2.0, rel=0.1)


def test_a_classifier_tells_apart_what_differs_and_nothing_else():
    rng = generator(5)
    same = rng.normal(size=(120, 4))
    groups = np.repeat(np.arange(30), 4)
    halves = [f.value for f in look.halves_apart(same, groups, generator(6))]
    assert 0.3 < np.mean(halves) < 0.65
    other = rng.normal(size=(120, 4)) + np.array([4, 0, 0, 0])
    apart = look.told_apart(same, other, (groups, groups + 100), generator(7))
    assert apart.value > 0.97 and apart.low > 0.9 and apart.groups == 60
    with pytest.raises(DataError, match="one group"):
        look.told_apart(same, other, (groups * 0, groups * 0), generator(8))


def test_features_see_colour_brightness_and_blur():
    rng = generator(9)
    picture = rng.normal(100, 10, size=(64, 80, 3)).astype(np.float32)
    plain, brighter = look.describe(picture), look.describe(picture + 5)
    moved = np.flatnonzero(np.abs(plain - brighter) > 0.01)
    np.testing.assert_array_equal(moved, [0, 1, 2])
    blurred = look.describe(cv2.GaussianBlur(picture, (0, 0), 2))
    assert (blurred[-15:-12] < plain[-15:-12] - 1).all()  # the finest octave of each colour


def test_a_simulated_ball_press_has_the_circle_that_was_asked_for(unit, ball):
    thing, depth = trip.ball_press(ball, CIRCLE, unit.model, SHAPE)
    contact = trip.pressed(unit.model, thing, depth)
    size = unit.model.pixel[0]
    assert float(contact.contact_radius) == pytest.approx(CIRCLE[2] * size, abs=trip.CELL)
    rows, cols = np.nonzero(contact.pressure > 0)
    middle = (np.array([cols.mean(), rows.mean()]) + 0.5) * contact.pitch[0] / size - 0.5
    np.testing.assert_allclose(middle, CIRCLE[:2], atol=0.5)


def test_a_ball_is_found_in_its_own_slopes(ball):
    truth = trip.real_scene(np.zeros((*SHAPE, 3)), ball, CIRCLE)
    np.testing.assert_allclose(trip.find_ball(truth.slopes, ball), CIRCLE, atol=0.4)
    noisy = truth.slopes + generator(10).normal(0, 0.05, size=truth.slopes.shape).astype(np.float32)
    np.testing.assert_allclose(trip.find_ball(noisy, ball), CIRCLE, atol=0.8)


def test_without_noise_a_scene_far_from_the_press_is_rest(unit, ball):
    press = trip.ball_press(ball, CIRCLE, unit.model, SHAPE)
    images, scenes = trip.simulate(unit, [press], generator(11), "none")
    assert images.shape == (1, *SHAPE, 3) and images.dtype == np.uint8
    assert np.abs(scenes[0].change[-5:, :5]).max() <= 1
    assert np.abs(scenes[0].change[40:60, 80:100]).max() > 10
    noisy = trip.simulate(unit, [press], generator(11), "frame")[1][0]
    assert noisy.change[-5:, :5].std() > 0.4
    np.testing.assert_array_equal(noisy.contact, scenes[0].contact)


def test_random_things_stay_in_reach_and_shallow(unit):
    drawn = trip.random_things(60, unit.model, generator(12), reach=0.1, deepest=0.5e-3)
    assert {thing.shape.name for thing, _ in drawn} >= {"sphere", "edge", "knurl", "coin"}
    assert max(abs(thing.pose.x) for thing, _ in drawn) <= 0.1 * unit.model.field_of_view[1]
    assert all(0 < depth <= 0.5e-3 for _, depth in drawn)


@pytest.mark.slow
def test_an_estimator_learns_from_simulated_balls_and_finds_others(unit, ball):
    rng = generator(13)
    circles = [
        (float(x), float(y), float(r))
        for x, y, r in zip(*(rng.uniform(*b, 10) for b in ((50, 110), (45, 75), (8, 14))), strict=True)
    ]
    scenes = trip.simulate(unit, [trip.ball_press(ball, c, unit.model, SHAPE) for c in circles], rng, "none")[1]
    net = trip.learn(scenes[:7], rng, steps=300, batch=512)
    errors = trip.try_on_balls(net, np.stack([s.change for s in scenes[7:]]), ball, circles[7:])
    assert errors.presses == 3
    assert errors.slope_deg < 0.5 * errors.flat_deg
    assert 0.8 < errors.slope_bias < 1.2
    assert errors.centre_mm < 0.2 and errors.radius_mm < 0.3
    with pytest.raises(DataError, match="no scenes"):
        trip.learn([], rng)


def test_learning_is_the_same_for_the_same_generator(unit, ball):
    scenes = trip.simulate(unit, [trip.ball_press(ball, CIRCLE, unit.model, SHAPE)], generator(14), "none")[1]
    first, second = (trip.learn(scenes, generator(15), steps=10).estimate(scenes[0].change) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_pictures_side_by_side_are_written(tmp_path):
    rng = generator(16)
    real = rng.integers(0, 255, size=(3, *SHAPE, 3), dtype=np.uint8)
    for name, circles in (("all", None), ("cut", [CIRCLE] * 3)):
        side_by_side(tmp_path / f"{name}.png", real[0], real, real[::-1], circles)
        picture = cv2.imread(str(tmp_path / f"{name}.png"))
        assert picture is not None and picture.shape[0] > 3 * 120 and picture.std() > 10
