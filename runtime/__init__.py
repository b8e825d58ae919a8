"""What runs on the chip, and the simulator of the chip."""
