"""What the end-to-end tests have in common."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CONFIG = dict(learning_rate=0.05, momentum=0.9, weight_decay=5e-4, batch_size=8)
