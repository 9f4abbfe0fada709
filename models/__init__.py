"""The detectors that ship as manifests, and how to obtain, export and measure them."""
