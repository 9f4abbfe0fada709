"""Programs for contributors: what generates files of this repository. Not installed."""
