"""What the end-to-end tests have in common."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CONFIG = dict(learning_rate=0.01, momentum=0.9, weight_decay=5e-4, batch_size=8)

# Four batches of digits, again and again, so that 20 steps are enough to learn.
SAMPLES = 32

# A ReLU whose input is within rounding of zero opens in one float32 implementation and stays shut in
# another, and a few steps later their losses differ by percents: PyTorch's float32 and float64 part so, too.
# From these seeds no input comes that close in 20 steps.
MOBILENET_SEED = 12
RESIDUAL_SEED = 15
RESNET8_IMAGES_SEED = 1
