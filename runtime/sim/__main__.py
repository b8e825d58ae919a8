"""``python -m tvm_pulp.runtime.sim``: the command line of the simulator."""

from .command_line import main

raise SystemExit(main())
