import numpy as np
import pytest

from palpate.core.errors import RecordError
from palpate.perception.hand_held import HandEvidence, hand_evidence


def taxels(force):
    return np.outer(np.full(24, 1 / 24), force)


def test_evidence_reads_forces_of_the_tips_that_have_a_sensor_and_angles_short_of_their_targets():
    targets = np.array([1.0, 0.5])
    before = {"ff": taxels([0.0, 3.0, 4.0]), "th": taxels([0.0, 0.0, 1.0])}
    after = {"ff": taxels([0.0, 0.0, 0.0]), "th": taxels([0.0, 0.0, 0.1])}
    found = hand_evidence(targets, (targets - 0.2, targets), (before, after))
    np.testing.assert_allclose(found.array(), [0.2, 0.0, 6.0, 0.1, 1.0, 0.0], atol=1e-12)
    assert HandEvidence.restore(found.array()) == found
    kept = hand_evidence(targets, (targets - 0.2, targets - 0.2), (before, before))
    assert np.all(kept.vector()[:3] > found.vector()[:3])


def test_a_hand_without_sensors_still_has_its_joints():
    found = hand_evidence(np.ones(3), (np.zeros(3), np.ones(3)), ({}, {}))
    assert found.force == (0.0, 0.0) and found.touched == (0.0, 0.0) and found.shortfall == (1.0, 0.0)


def test_numbers_that_cannot_be_are_refused():
    with pytest.raises(RecordError, match="finite"):
        HandEvidence(shortfall=(0.1, np.nan), force=(0.0, 0.0), touched=(0.0, 0.0))
