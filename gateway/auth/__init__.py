"""Who may call: API keys, OpenID Connect tokens, scopes and rate limits."""
