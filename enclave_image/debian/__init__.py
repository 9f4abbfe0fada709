"""Debian packages as locked inputs: pinned by SHA-256, fetched from any mirror, opened here."""
