"""The parent instance: takes ciphertext over HTTP and hands it to attested enclaves."""
