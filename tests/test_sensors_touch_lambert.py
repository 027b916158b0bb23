import numpy as np

from palpate.sensors.touch.lambert import lambert
from palpate.sensors.touch.optics import Lamps, Optics

LAMPS = Lamps(
    azimuth_deg=np.array([-90.0, 30.0, 150.0]),
    elevation_deg=np.array([35.0, 35.0, 35.0]),
    colour=np.diag([180.0, 170.0, 160.0]),
    falloff=np.array([0.2, 0.1, 0.1]),
    vignette=0.2,
)


def test_closed_form_lamps_agree_with_lamps_on_gentle_slopes():
    y, x = np.meshgrid(np.linspace(-1, 1, 80), np.linspace(-1, 1, 60), indexing="ij")
    sunk = 4e-4 * np.exp(-(x**2 + (y - 0.2) ** 2) / 0.18)  # slopes up to 0.15
    shape, pitch = (320, 240), (0.019 / 320, 0.016 / 240)
    cells = (0.019 / 80, 0.016 / 60)
    slow, fast = (
        Optics(shape=shape, pitch=pitch, stages=(stage,)).difference(sunk, cells) for stage in (LAMPS, lambert(LAMPS))
    )
    assert np.abs(slow).max() > 10
    np.testing.assert_allclose(fast, slow, atol=1.0)
    np.testing.assert_array_equal(Optics(shape=shape, pitch=pitch, stages=(lambert(LAMPS),)).difference(0 * sunk, cells), 0.0)
