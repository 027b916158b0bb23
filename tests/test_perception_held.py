import numpy as np
import pytest

from palpate.core.errors import RecordError
from palpate.perception.held import ContactEvidence, contact_evidence, contact_numbers


def picture(rng, press=0.0, drift=0.0):
    image = np.full((240, 320, 3), 120.0) + rng.normal(0, 2, (240, 320, 3)) + drift
    rows, cols = np.mgrid[:240, :320]
    bump = np.exp(-((rows - 120) ** 2 + (cols - 150) ** 2) / (2 * 30**2))
    return np.clip(image + press * bump[..., None] * np.array([1.0, -0.5, 0.3]), 0, 255).astype(np.uint8)


def test_a_press_stands_out_from_noise_and_from_drifting_lamps():
    rng = np.random.default_rng(0)
    rest = picture(rng)
    noise, drift, press = (contact_numbers(picture(rng, p, d), rest) for p, d in ((0, 0), (0, 10), (25, 10)))
    assert max(noise[0], drift[0]) < 3 < 15 < press[0]
    assert noise[1] == drift[1] == 0.0 < press[1]


def test_evidence_survives_being_stored_and_orders_held_above_lost():
    rng = np.random.default_rng(1)
    rest = {name: picture(rng) for name in ("left", "right")}
    held = contact_evidence({name: picture(rng, 30) for name in rest}, rest)
    lost = contact_evidence({"left": picture(rng, 30), "right": picture(rng)}, rest)
    assert ContactEvidence.restore(held.array()) == held
    assert (held.vector() >= lost.vector()).all() and held.vector()[0] > lost.vector()[0] + 1


def test_a_finger_without_rest_image_is_refused():
    image = picture(np.random.default_rng(2))
    with pytest.raises(RecordError, match="each finger needs both"):
        contact_evidence({"left": image}, {})
    with pytest.raises(RecordError, match="differ in size"):
        contact_numbers(image, image[:100])
