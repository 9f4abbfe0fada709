"""The page for people, and what it is told.

The TypeScript in `src/` is built by `make assets` into `dist/`: `served/` is what the gateway
answers at `/`, `standalone/` a template of one file that `python -m gateway.console` completes.
"""
