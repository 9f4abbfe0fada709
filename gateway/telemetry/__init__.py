"""What the gateway reports about itself: log, access log, metrics, spans, stages of a request."""
