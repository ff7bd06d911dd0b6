"""What all processes share: settings, keys, models, and the only code that speaks Redis."""
