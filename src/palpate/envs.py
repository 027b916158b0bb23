"""Importing this makes palpate's environments known to Gymnasium; `gymnasium.make("palpate.envs:palpate/Gentle-v0")` does both.

A module of its own, because `import palpate` loads nothing heavy and Gymnasium knows no other hook.
"""

import gymnasium

gymnasium.register(id="palpate/Gentle-v0", entry_point="palpate.recipes.gentle_env:GentleEnv")
