"""Ways to run a package, behind one interface."""
