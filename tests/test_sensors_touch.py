import numpy as np
import pytest

from palpate.core.errors import RecordError
from palpate.core.protocols import TouchSensor
from palpate.sensors.digit import Digit, DigitConfig
from palpate.sensors.gel import Gel, press
from palpate.sensors.optics import Optics, shade

GEL = Gel()
Y, X = np.meshgrid(np.linspace(-0.0095, 0.0095, 80), np.linspace(-0.008, 0.008, 60), indexing="ij")


def sphere(radius: float = 0.03, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    return ((X - x) ** 2 + (Y - y) ** 2) / (2 * radius)


def carried(contact) -> float:
    return float(contact.pressure.sum() * GEL.width * GEL.height / contact.pressure.size)


@pytest.mark.parametrize("force", [0.01, 0.3, 2.0, 10.0, 40.0])
def test_pressure_carries_the_force_for_any_surface(force):
    rng = np.random.default_rng(int(force * 100))
    for gap in (sphere(), sphere(0.004), np.abs(X) * 0.2, rng.uniform(0, 0.002, X.shape), np.full(X.shape, 0.01)):
        np.testing.assert_allclose(carried(press(GEL, gap, force)), force, rtol=1e-9)


def test_a_sphere_sinks_as_a_winkler_foundation_says():
    """F = pi R k d^2 for a paraboloid on springs: d = sqrt(2 / (pi * 0.03 * 1e8)) = 0.461 mm."""
    contact = press(GEL, sphere(0.03), 2.0)
    np.testing.assert_allclose(contact.depth, np.sqrt(2.0 / (np.pi * 0.03 * 1e8)), rtol=0.02)


def test_more_force_never_gives_less_contact():
    areas = [int((press(GEL, sphere(), force).pressure > 0).sum()) for force in (0.1, 0.5, 1, 2, 4, 8)]
    depths = [press(GEL, sphere(), force).depth for force in (0.1, 0.5, 1, 2, 4, 8)]
    assert areas == sorted(areas) and depths == sorted(depths) and areas[-1] > 4 * areas[0]


def test_a_mirrored_surface_gives_mirrored_pressure():
    gap = sphere(0.02, x=0.003, y=-0.002)
    np.testing.assert_allclose(press(GEL, gap[:, ::-1], 1.5).pressure, press(GEL, gap, 1.5).pressure[:, ::-1], atol=1e-6)


def test_only_differences_of_the_gap_matter():
    np.testing.assert_allclose(
        press(GEL, sphere() + 0.004, 1.0).pressure, press(GEL, sphere(), 1.0).pressure, rtol=1e-6, atol=1e-3
    )


def test_no_force_gives_the_rest_image_exactly():
    digit = Digit(DigitConfig(), unit_seed=0)
    rest = digit.rest().image
    np.testing.assert_array_equal(digit.press(sphere(), 0.0).image, rest)
    np.testing.assert_array_equal(shade(Optics(), np.zeros((80, 60)), (1e-4, 1e-4)), 0.0)


def test_a_press_colours_its_sides_by_the_lights_and_grows_with_force():
    digit = Digit(DigitConfig(), unit_seed=0)
    rest = digit.rest().image.astype(float)
    change = digit.press(sphere(0.01), 2.0).image - rest
    red_below, red_above = change[200:240, 100:140, 0].mean(), change[80:120, 100:140, 0].mean()
    assert abs(red_below - red_above) > 10, "the red light stands below"
    sums = [np.abs(digit.press(sphere(), force).image - rest).sum() for force in (0.2, 0.5, 1, 2, 4)]
    assert sums == sorted(sums)


def test_noise_differs_between_frames_and_units_but_not_between_equal_seeds():
    digit = Digit(DigitConfig(), unit_seed=0)
    digit.begin_episode(np.random.default_rng(0))
    one, two = (digit.frame(None, 0.0, np.random.default_rng(seed), 0.0).image for seed in (1, 2))
    again = digit.frame(None, 0.0, np.random.default_rng(1), 0.0).image
    np.testing.assert_array_equal(one, again)
    assert 0.3 < np.abs(one.astype(int) - two).mean() < 4
    other = Digit(DigitConfig(), unit_seed=1).rest().image.astype(int)
    assert np.abs(other - digit.rest().image).mean() > 2, "a rest image belongs to one unit"


def test_a_digit_is_a_touch_sensor_of_the_stated_resolution():
    sensor: TouchSensor = Digit(DigitConfig(), unit_seed=3)
    assert sensor.press(sphere(), 1.0).image.shape == (320, 240, 3)


@pytest.mark.parametrize(
    ("gap", "force", "words"),
    [
        (np.where(X > 0.007, np.nan, 0.0), 1.0, "finite"),
        (np.zeros(10), 1.0, r"\(H, W\)"),
        (sphere(), -1.0, "0 or more newtons"),
        (sphere(), np.inf, "newtons"),
        (sphere(), 2000.0, "is the force in newtons"),
    ],
)
def test_unphysical_presses_are_refused(gap, force, words):
    with pytest.raises(RecordError, match=words):
        Digit(DigitConfig(), unit_seed=0).press(gap, force)
