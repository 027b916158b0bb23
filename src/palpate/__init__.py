"""palpate: see, hear and feel a gentle grasp. Importing this loads NumPy and nothing heavier."""

from palpate.core.actions import ActionSpace as ActionSpace
from palpate.core.errors import PalpateError as PalpateError
from palpate.core.protocols import Embodiment as Embodiment
from palpate.core.protocols import OutcomeModel as OutcomeModel
from palpate.core.protocols import Policy as Policy
from palpate.core.records import CameraFrame as CameraFrame
from palpate.core.records import Decision as Decision
from palpate.core.records import Episode as Episode
from palpate.core.records import GraspAction as GraspAction
from palpate.core.records import GraspOutcome as GraspOutcome
from palpate.core.records import Observation as Observation
from palpate.core.records import Stream as Stream
from palpate.core.records import StreamSpec as StreamSpec
from palpate.core.records import TactileFrame as TactileFrame
from palpate.core.rollout import rollout as rollout

__version__ = "0.1.0"
