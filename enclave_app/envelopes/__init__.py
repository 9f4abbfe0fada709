"""Opening envelopes: data keys from KMS, cached, and the content under them."""
