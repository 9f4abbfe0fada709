"""The page for people, and its configuration.

The TypeScript in `console/` is built by `make assets` into `dist/` here: `served/` is what the
gateway responds with at `/`, `standalone/` a template of one file that `python -m gateway.console`
completes.
"""
