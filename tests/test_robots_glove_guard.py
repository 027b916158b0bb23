"""The guard over a glove that stops sending, sends nonsense or jumps."""

import numpy as np
import pytest

from palpate.core.errors import RecordError
from palpate.robots.glove import GloveGuard, GloveSample, GuardLimits, HandState

DT = 1 / 30


def sample(angle, time):
    return GloveSample(angles=np.full(6, angle), time=time)


class Run:
    """Feeds a guard at 30 Hz and keeps what it said."""

    def __init__(self, **limits):
        self.guard = GloveGuard(GuardLimits(**limits))
        self.n = 0
        self.told = []
        self.last = None

    def step(self, angle, *, new=True):
        """One step; `angle` None gives no sample, and without `new` the newest sample comes again."""
        self.n += 1
        given = None if angle is None else (sample(angle, self.n * DT) if new else self.last)
        self.last = given or self.last
        done = self.guard.step(given, DT)
        self.told += [done.message] if done.message else []
        return done

    def follow(self, n=10, angle=0.3):
        for _ in range(n):
            done = self.step(angle)
        return done


def test_a_good_glove_is_followed_exactly():
    run = Run()
    for i in range(30):
        done = run.step(np.sin(i / 5))
        assert done.state == "following"
        np.testing.assert_allclose(done.angles, np.sin(i / 5), rtol=0)
    assert run.told == ["following the glove"]


def test_before_the_first_sample_there_is_nothing_to_follow():
    run = Run()
    for _ in range(20):
        done = run.step(None)
        assert (done.state, done.angles, done.message) == ("waiting", None, "")


@pytest.mark.parametrize("silence", [{"angle": None}, {"angle": 0.0, "new": False}])
def test_a_glove_that_stops_sending_is_stale_after_200_ms_and_the_angles_hold(silence):
    run = Run()
    run.follow()
    states = [run.step(**silence).state for _ in range(12)]
    assert states.count("following") == 6  # 6 steps of 33 ms are 200 ms
    assert states[6:] == ["holding"] * 6
    assert run.told[-1].startswith("holding: stale after 200 ms")
    np.testing.assert_allclose(run.step(None).angles, 0.3, rtol=0)


def test_it_recovers_at_a_limited_speed_where_the_glove_is_now():
    run = Run(recovery_speed=2.0)
    run.follow()
    for _ in range(30):
        run.step(None)
    back = [run.step(1.0) for _ in range(20)]
    states = [done.state for done in back]
    assert states[:4] == ["holding"] * 4  # five good samples are needed
    assert "recovering" in states and states[-1] == "following"
    assert sorted(states, key=["holding", "recovering", "following"].index) == states
    path = np.array([0.3] + [done.angles[0] for done in back])
    assert np.diff(path).max() <= 2.0 * DT + 1e-12
    np.testing.assert_allclose(path[-1], 1.0, rtol=0)
    assert run.told[-2:] == ["the glove is back; going to where it is", "following the glove again"]


def test_nan_is_never_passed_on_and_one_is_enough_to_hold():
    run = Run()
    run.follow()
    done = run.step(np.nan)
    assert done.state == "holding" and "not six finite angles" in done.message
    np.testing.assert_allclose(done.angles, 0.3, rtol=0)
    assert [run.step(0.3).state for _ in range(6)][-1] == "following"


def test_a_wrong_number_of_angles_is_nonsense_too():
    guard = GloveGuard()
    assert guard.step(GloveSample(angles=np.zeros(5), time=0.0), DT).state == "waiting"
    assert guard.step(sample(0.1, 1.0), DT).state == "following"


def test_a_jump_is_not_followed_and_a_single_glitch_is_forgotten():
    run = Run(max_speed=25.0)
    run.follow()
    done = run.step(0.3 + 26.0 * DT)
    assert done.state == "holding" and "jumped: 26/s, allowed 25/s" in done.message
    np.testing.assert_allclose(done.angles, 0.3, rtol=0)
    after = [run.step(0.3) for _ in range(6)]
    assert after[-1].state == "following"
    np.testing.assert_allclose([done.angles[0] for done in after], 0.3, atol=1e-12)


def test_a_fast_but_human_movement_is_no_jump():
    run = Run(max_speed=25.0)
    run.follow()
    assert run.step(0.3 + 20.0 * DT).state == "following"


def test_a_glove_that_jumps_for_ever_is_never_believed():
    run = Run()
    run.follow()
    for i in range(40):
        done = run.step(2.0 * (i % 2 == 0))
        assert done.state == "holding"
        np.testing.assert_allclose(done.angles, 0.3, rtol=0)
    assert len(run.told) == 2  # said once, not forty times


def test_a_clock_that_goes_back_holds_and_then_counts_anew():
    run = Run()
    run.follow()
    run.n = 0
    done = run.step(0.3)
    assert done.state == "holding" and "clock went back" in done.message
    assert run.follow(6).state == "following"


def test_silence_during_recovery_holds_again():
    run = Run(recovery_speed=0.1)
    run.follow()
    run.step(np.nan)
    assert run.follow(6, 0.9).state == "recovering"
    for _ in range(7):
        done = run.step(None)
    assert done.state == "holding"


def test_limits_and_hand_states_that_make_no_sense_are_refused():
    with pytest.raises(RecordError, match="must be positive"):
        GuardLimits(stale=0.0)
    with pytest.raises(RecordError, match="hand torques"):
        HandState(angles=np.zeros(6), torques=np.array([0, 0, 0, 0, 0, np.nan]))
    with pytest.raises(RecordError, match="hand angles"):
        HandState(angles=np.zeros(5), torques=np.zeros(6))
