"""What is promised, as values: objectives, burn rates, how a canary is judged, Prometheus's rules."""
