"""What docs/ says, measured: each module prints one JSON object on its last line."""
