"""What is promised, as values: objectives, burn rates, how canaries are judged, alerting rules."""
