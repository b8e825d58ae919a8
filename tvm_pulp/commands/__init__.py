"""The subcommands of `tvmc`, one a file: `add_parser` and what it runs."""
