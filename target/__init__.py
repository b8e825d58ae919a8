"""Target tags, the C printers and toolchain discovery for PULP clusters."""
