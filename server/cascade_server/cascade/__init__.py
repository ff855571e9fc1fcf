"""One request checked, admitted, routed to a tier and drawn."""
