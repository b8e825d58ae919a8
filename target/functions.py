"""A program's network functions and its replay store's tensors, by the names that all parts use."""

from __future__ import annotations

from collections.abc import Mapping

STORE_REPLAYS = "store_replays"
"""The function that stores samples for replay."""

COMMANDS: Mapping[str, int] = {
    "train_step": 0,
    "gradient_step": 1,
    "update_step": 2,
    "infer": 3,
    STORE_REPLAYS: 4,
}
"""Value of `<model>_command` for each network function."""

REPLAY_LATENTS, REPLAY_LABELS = "replay_latents", "replay_labels"
"""Names of the replay store's tensors."""
REPLAY_INDICES, REPLAY_SLOTS = "replay_indices", "replay_slots"
"""Names of the arguments that say which slots a step replays, and in which ones new samples are stored."""
REPLAY_ROWS = "replay_rows"
"""Name of the rows of a store in L3 that a step replays, or stores."""
