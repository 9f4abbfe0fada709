"""The enclave: the only place where an uploaded image is opened."""
