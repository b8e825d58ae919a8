"""Speed in simulated cycles beside the machine's limit and beside the same work done another way."""
