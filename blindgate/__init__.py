"""What every party shares: protocols, attestation, sealing, the client SDK and the CLI."""
