"""What the gateway takes from AWS: credentials for its enclaves, and which enclaves run here."""
