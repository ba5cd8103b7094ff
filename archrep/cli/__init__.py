"""The command `archrep`: one module a command, each with `main(argv) -> exit code`."""
