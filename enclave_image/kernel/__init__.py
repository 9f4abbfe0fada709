"""The kernel of an enclave image: built here from locked source, or brought along and checked."""
