"""Offline jobs: how they are asked for, how their rows are drawn, and who works them off."""
