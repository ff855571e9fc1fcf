"""Who may ask, for what, and how much: decisions as pure functions, a thin shell around them."""
