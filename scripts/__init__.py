"""The command line `ratespike`: one click group, one file per command."""
