"""Which releases are loaded, which version answers, and how both change while calls go on."""
