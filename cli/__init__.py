"""The `adasplit` command: starts everything on one machine, and tells people what goes on."""
