"""The command line, for people: `python -m mesh`. One module per command, each imported only when it runs."""
