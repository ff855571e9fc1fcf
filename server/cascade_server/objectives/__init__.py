"""Service level objectives, burn rates, the judgement of canaries, and alerting rules."""
