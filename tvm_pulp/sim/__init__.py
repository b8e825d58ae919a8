"""`python -m tvm_pulp.sim`: the simulator's command under a short name."""
