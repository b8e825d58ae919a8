"""What people read: plans, times and comparisons as text."""
